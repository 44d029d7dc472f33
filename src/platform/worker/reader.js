// Reads a body of the runtime's own. What gathers while nobody asks is read to its end here and crosses into WASM at once:
// a read that ends in JavaScript costs half of one that ends in WASM.

/** Who asks so many milliseconds after the last piece has let others gather. */
const AWAY = 5;
/** A piece that comes later than this after the question, in milliseconds, was not there before. */
const BEHIND = 3;
/** More than so many milliseconds without another piece mean that all is read. The clock has whole ones. */
const LINGER = 1;
/** More is not gathered at once. */
const MOST = 32 * 1024;
/** After a piece of this size there is more: the same number stands in src/chat/answer.rs. */
const MUCH = 16 * 1024;

export class Reader {
  /**
   * `bulk`: the size of pieces that are wanted as large as that, or 0. `give` gets a piece, or `undefined` at the end, and
   * copies it before it returns; `fail` gets an exception. Each answers one call of `read`, also within it.
   */
  constructor(stream, bulk, give, fail) {
    this.stream = stream;
    // A reader with room of its own is dearer, so small pieces are read without.
    this.reader = stream.getReader(bulk ? { mode: "byob" } : undefined);
    this.bulk = bulk;
    this.give = give;
    this.fail = fail;
    this.room = undefined;
    this.pieces = [];
    this.length = 0;
    this.exception = undefined;
    this.isAsked = this.isReading = this.hasEnded = false;
    this.gathers = this.hasMore = false;
    this.askedAt = this.heardAt = 0;
    this.givenAt = Infinity;
    this.timer = undefined;
    this.onRead = ({ done, value }) => this.came(done ? undefined : value);
    this.onFailure = (exception) => {
      this.exception = exception;
      this.came(undefined);
    };
    this.onTick = () => {
      this.timer = undefined;
      if (Date.now() - this.heardAt > LINGER) this.answer();
      else this.tick();
    };
  }

  read() {
    this.isAsked = true;
    this.askedAt = Date.now();
    this.gathers = !this.bulk && (this.hasMore || this.askedAt - this.givenAt >= AWAY);
    if (this.hasEnded || (this.length > 0 && !this.gathers)) return this.answer();
    if (this.length > 0) this.tick();
    if (!this.isReading) this.next();
  }

  next() {
    this.isReading = true;
    this.readPiece().then(this.onRead, this.onFailure);
  }

  readPiece() {
    if (!this.bulk) return this.reader.read();
    return this.reader.readAtLeast(this.bulk, new Uint8Array(this.room ?? new ArrayBuffer(this.bulk)));
  }

  /** A read has ended, with the body if there is no `value`. */
  came(value) {
    this.isReading = false;
    if (this.give === undefined) return;
    if (value === undefined) {
      this.hasEnded = true;
      if (this.isAsked) this.answer();
      return;
    }
    this.heardAt = Date.now();
    const gathers = this.gathers && this.heardAt - this.askedAt <= BEHIND;
    if (this.isAsked && this.length === 0 && !gathers) {
      this.answer(value);
      this.room = value.buffer;
    } else {
      this.pieces.push(value);
      this.length += value.length;
    }
    if (!this.isAsked) return;
    if (!gathers || this.length >= MOST) return this.answer();
    this.next();
    this.tick();
  }

  tick() {
    this.timer ??= setTimeout(this.onTick, LINGER);
  }

  /** Gives `value`, else what has gathered, else tells of the end. */
  answer(value = this.joined()) {
    if (this.timer !== undefined) clearTimeout(this.timer);
    this.timer = undefined;
    this.isAsked = false;
    this.hasMore = value !== undefined && value.length >= MUCH;
    if (value === undefined && this.exception !== undefined) return this.fail(this.exception);
    this.give(value);
    this.givenAt = Date.now();
  }

  joined() {
    if (this.length === 0) return undefined;
    const [first, ...others] = this.pieces;
    let whole = first;
    if (others.length > 0) {
      whole = new Uint8Array(this.length);
      let at = 0;
      for (const piece of this.pieces) {
        whole.set(piece, at);
        at += piece.length;
      }
    }
    this.pieces = [];
    this.length = 0;
    return whole;
  }

  /** Nobody asks any more; `give` and `fail` are not called again. */
  end() {
    clearTimeout(this.timer);
    this.give = this.fail = undefined;
  }

  /** Gives the stream up, and with it the connection behind. */
  cancel() {
    this.end();
    if (!this.hasEnded) this.reader.cancel().catch(() => {});
  }

  /** Lets somebody else read the rest. Fails, with `undefined`, while a read is open. */
  release() {
    try {
      this.reader.releaseLock();
    } catch {
      return undefined;
    }
    this.end();
    return this.stream;
  }
}
