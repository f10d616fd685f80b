/** The boot id of an NFS server, asked over a connection of its own; evidence 3 of the trust in a mount. */
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import fc from 'fast-check';
import { test } from 'tap';
import { exchangeIdCall, parseExchangeIdReply } from '../../src/mount/exchange-id.ts';
import { askServer } from '../../src/mount/nfs-server.ts';
import { rpcRecord, RpcRecordReader } from '../../src/mount/rpc-record.ts';
import { XdrError, XdrReader, xdrOpaque, xdrWords } from '../../src/mount/xdr.ts';
import { SERVER_FAILURES } from '../../src/protocol/mount-evidence.ts';

const xid = 0x0102_0304;
const nothing = xdrOpaque(Buffer.alloc(0));
const accepted = xdrWords(1, 0, 0, 0, 0);
const serverName = Buffer.concat([xdrWords(0, 1), xdrOpaque(Buffer.from('server')), nothing, xdrWords(0)]);

/** What a server of NFSv4.1 replies, without the call that it answers. */
function reply(...compound: readonly Buffer[]): Buffer {
  return Buffer.concat([accepted, ...compound]);
}

const good = reply(
  xdrWords(0),
  nothing,
  xdrWords(1, 42, 0),
  xdrWords(0x65a1_b2c3, 7, 1, 0x2_0000, 0),
  serverName,
);

function withXid(id: number, rest: Buffer): Buffer {
  return Buffer.concat([xdrWords(id), rest]);
}

interface Behaviour {
  readonly connected?: (socket: Socket) => void;
  /** Gets the whole call. */
  readonly called?: (socket: Socket, call: Buffer) => void;
}

/** Asks a server on this machine that behaves so; says too how many connections are left afterwards. */
async function ask(behaviour: Behaviour, options: { deadlineMs?: number; signal?: AbortSignal } = {}) {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    const record = new RpcRecordReader(4096);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    behaviour.connected?.(socket);
    socket.on('data', (chunk: Buffer) => {
      const call = record.push(chunk);
      if (call) behaviour.called?.(socket, call);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  try {
    return await askServer({ address: '127.0.0.1', port, owner: 'test', deadlineMs: 5000, ...options });
  } finally {
    // A connection of ours that stayed open would keep the server from closing, and the test from its end.
    await new Promise((resolve) => server.close(resolve));
  }
}

function replying(rest: Buffer): Behaviour {
  return { called: (socket, call) => socket.write(rpcRecord(withXid(call.readUInt32BE(0), rest))) };
}

test('askServer() says the boot id of a server, however TCP cuts its reply', async (t) => {
  const bootId = { is: 'boot-id', bootId: '65a1b2c3' };
  t.same(await ask(replying(good)), bootId);
  const bytewise: Behaviour = {
    called: (socket, call) => {
      const bytes = [...rpcRecord(withXid(call.readUInt32BE(0), good))];
      const next = (): void => {
        const byte = bytes.shift();
        if (byte !== undefined) socket.write(Buffer.of(byte), next);
      };
      next();
    },
  };
  t.same(await ask(bytewise), bootId);
});

test('askServer() tells apart what a server may say instead of its boot id', async (t) => {
  const says = async (rest: Buffer) => (await ask(replying(rest))).is;
  t.equal(await says(xdrWords(1, 1, 1, 5)), 'denied', 'RPC_DENIED, as around start and stop');
  t.equal(await says(xdrWords(1, 0, 0, 0, 2, 3, 3)), 'unsupported', 'a server of version 3 alone');
  t.equal(await says(xdrWords(1, 0, 0, 0, 5)), 'denied', 'SYSTEM_ERR');
  t.equal(await says(reply(xdrWords(10_021), nothing, xdrWords(0))), 'unsupported', 'a server of 4.0 alone');
  t.equal(await says(reply(xdrWords(10_008), nothing, xdrWords(0))), 'denied', 'NFS4ERR_DELAY');
  t.equal(await says(reply(xdrWords(0), nothing, xdrWords(1, 9, 0))), 'garbled', 'another operation');
  t.equal(await says(good.subarray(0, 48)), 'garbled', 'a reply that is cut');
});

test('askServer() tells apart how a server may be silent', async (t) => {
  const closed = await ask({ called: (socket) => socket.end() });
  t.match(closed, { is: 'closed', says: 'it hung up after 0 bytes' });
  const half = await ask({ called: (socket) => socket.end(Buffer.of(0x80, 0, 0, 99, 1)) });
  t.match(half, { is: 'closed', says: 'it hung up after 5 bytes' });
  t.match(await ask({ connected: (socket) => socket.resetAndDestroy() }), { is: 'reset' });
  const silent = await ask({}, { deadlineMs: 50 });
  t.match(silent, { is: 'timeout', says: /took the connection and said nothing whole within 50 ms/ });
  const slow = await ask({ called: (socket) => socket.write(Buffer.of(0x80, 0)) }, { deadlineMs: 50 });
  t.match(slow, { is: 'timeout' });
});

test('askServer() finds a port that nobody listens on refused', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  t.match(await askServer({ address: '127.0.0.1', port, owner: 'test', deadlineMs: 5000 }), {
    is: 'refused',
  });
});

test('askServer() reads no more than a reply may have', async (t) => {
  const endless: Behaviour = {
    called: (socket) => {
      const more = (): boolean => socket.writable && socket.write(Buffer.alloc(4096), more);
      more();
    },
  };
  t.match(await ask(endless), { is: 'garbled', says: /more than 32768 bytes/ });
  t.match(await ask({ called: (socket) => socket.write(Buffer.alloc(4, 0xff)) }), { is: 'garbled' });
  t.match(await ask({ called: (socket) => socket.write('HTTP/1.1 400 Bad Request\r\n') }), { is: 'garbled' });
});

test('askServer() ends with its signal, and takes only addresses', async (t) => {
  const controller = new AbortController();
  const reason = new Error('stopping');
  const asked = ask({ called: () => controller.abort(reason) }, { signal: controller.signal });
  await t.rejects(asked, reason);
  await t.rejects(ask({}, { signal: controller.signal }), reason);
  const named = { address: 'nfs.example', owner: 'test', deadlineMs: 5000 };
  await t.rejects(askServer(named), new RangeError('nfs.example is no IP address'));
});

test('exchangeIdCall() is the call that a server expects, whatever the length of its owner', async (t) => {
  for (const owner of ['a', 'ab', 'abc', 'abcd', 'longshore-0123456789abcdef']) {
    const reader = new XdrReader(exchangeIdCall(xid, owner));
    const words = (count: number) => Array.from({ length: count }, () => reader.word());
    t.same(words(10), [xid, 0, 2, 100_003, 4, 1, 0, 0, 0, 0]);
    t.equal(reader.opaque(0).length, 0);
    t.same(words(3), [1, 1, 42]);
    words(2);
    t.equal(reader.opaque(64).toString(), owner);
    t.same(words(3), [0, 0, 0]);
    t.throws(() => reader.word(), new XdrError('0 bytes are left where 4 must follow'));
  }
});

test('parseExchangeIdReply() has an answer to any bytes, and throws for none', async () => {
  const names = new Set([...Object.keys(SERVER_FAILURES), 'boot-id']);
  const tail = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    // Replies that begin well reach further into the parser than bytes by chance.
    fc
      .tuple(fc.nat({ max: good.length }), fc.uint8Array({ maxLength: 64 }))
      .map(([cut, more]) => Buffer.concat([good.subarray(0, cut), more])),
  );
  const property = fc.property(tail, fc.boolean(), (bytes, ours) => {
    const message = Buffer.concat([xdrWords(ours ? xid : 9), bytes]);
    return names.has(parseExchangeIdReply(message, xid).is);
  });
  fc.assert(property, { numRuns: 2000 });
});

test('parseExchangeIdReply() takes no beginning of a reply for the boot id', async (t) => {
  const whole = withXid(xid, good);
  const needed = whole.length - serverName.length - 4;
  for (let length = 0; length < needed; length += 1) {
    t.equal(parseExchangeIdReply(whole.subarray(0, length), xid).is, 'garbled', `${length} bytes`);
  }
  t.equal(parseExchangeIdReply(whole, 5).is, 'garbled', 'a reply to another call');
});

test('RpcRecordReader gives back what was sent, in any fragments and any pieces', async () => {
  const parts = fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 1, maxLength: 6 });
  const property = fc.property(parts, fc.integer({ min: 1, max: 9 }), (fragments, step) => {
    const bytes = Buffer.concat(
      fragments.map((one, index) =>
        index === fragments.length - 1 ? rpcRecord(one) : Buffer.concat([xdrWords(one.length), one]),
      ),
    );
    const reader = new RpcRecordReader(bytes.length);
    for (let at = 0; at < bytes.length; at += step) {
      const message = reader.push(bytes.subarray(at, at + step));
      if (message !== undefined) {
        return at + step >= bytes.length && message.equals(Buffer.concat(fragments));
      }
    }
    return false;
  });
  fc.assert(property);
});

test('XdrReader never reads behind the end, and says XdrError of what is not there', async () => {
  const reads = fc.array(fc.option(fc.nat({ max: 64 }), { nil: undefined }), { maxLength: 12 });
  const property = fc.property(fc.uint8Array({ maxLength: 64 }), reads, (bytes, steps) => {
    // Bytes before and after in the same memory, which a reader could reach.
    const around = Buffer.concat([Buffer.alloc(8, 0xee), bytes, Buffer.alloc(64, 0xee)]);
    const reader = new XdrReader(around.subarray(8, 8 + bytes.length));
    let used = 0;
    try {
      for (const maxBytes of steps) {
        if (maxBytes === undefined) reader.word();
        const read = maxBytes === undefined ? 0 : reader.opaque(maxBytes).length;
        used += 4 + Math.ceil(read / 4) * 4;
      }
    } catch (error) {
      return error instanceof XdrError && used <= bytes.length;
    }
    return used <= bytes.length;
  });
  fc.assert(property, { numRuns: 1000 });
});
