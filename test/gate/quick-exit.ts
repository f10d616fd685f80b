/** Loaded before a test file: ends the process where it would end by itself, without Node's own cleanup of handles.
 *
 *  That loops for ever now and then behind a TLS server (seen with Node 24.21: all of the processor in
 *  Environment::CleanupHandles, after the last line of output). An exit that is asked for leaves it out. */
process.once('beforeExit', () => {
  // Only now, so that it comes behind those who have still to say something at the end.
  process.once('exit', (code) => process.exit(code));
});
