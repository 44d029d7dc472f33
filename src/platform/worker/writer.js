// Writes an answer to the client, through a stream of the runtime's own: one that calls back for each piece costs more.

export class Writer {
  /**
   * `client`: aborted when the client leaves. `settle` is told whether a write went well, and `false` when it has left.
   * @param {AbortSignal | undefined} client
   * @param {(isWell: boolean) => void} settle
   */
  constructor(client, settle) {
    const { readable, writable } = new IdentityTransformStream();
    this.readable = readable;
    this.writer = writable.getWriter();
    /** @type {typeof settle | undefined} */
    this.settle = settle;
    this.onWritten = () => this.settle?.(true);
    this.onGone = () => this.settle?.(false);
    client?.addEventListener("abort", this.onGone);
    this.writer.closed.catch(this.onGone);
    this.client = client;
  }

  /** @param {Uint8Array} piece */
  write(piece) {
    this.writer.write(piece).then(this.onWritten, this.onGone);
  }

  /**
   * The answer has ended; with `exception` it is broken off.
   * @param {unknown} exception
   */
  end(exception) {
    if (this.settle === undefined) return;
    this.settle = undefined;
    this.client?.removeEventListener("abort", this.onGone);
    const ended = exception === undefined ? this.writer.close() : this.writer.abort(exception);
    ended.catch(() => {});
  }
}
