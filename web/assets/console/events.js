// Reads a stream of server-sent events, independent of how it is split into chunks.
const LONGEST = 4_000_000;

/**
 * Yields the data of each event.
 * @param {ReadableStream<BufferSource>} body
 * @param {number} longest The most characters of a line.
 */
export async function* events(body, longest = LONGEST) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      // A long line is read once, not once per piece.
      const isInside = value && !rest.endsWith("\r") && !/[\r\n]/.test(value);
      rest += value ?? "";
      if (rest.length > longest) throw new Error("line too long");
      if (isInside) continue;
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "") {
          if (data.length) yield data.join("\n");
          data = [];
        } else if (line.startsWith("data:")) {
          data.push(line.slice(line[5] === " " ? 6 : 5));
        }
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
