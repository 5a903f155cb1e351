"use strict";
// One module in a thread of its own: it is given work, and answers with pixels.
let module = null;
const give = (bytes) => {
  const at = module.cm_web_1_room(bytes.length) >>> 0;
  new Uint8Array(module.memory.buffer).set(bytes, at);
};
const answer = (well) => {
  const at = module.cm_web_1_answer() >>> 0;
  const bytes = new Uint8Array(module.memory.buffer).slice(at, at + (module.cm_web_1_answer_len() >>> 0));
  if (!well) throw new Error(new TextDecoder().decode(bytes));
  return bytes;
};
const ANY = 0xffffffff;
const works = {
  async open({ code, model }) {
    module = (await WebAssembly.instantiate(code, {})).exports;
    give(model);
    return answer(module.cm_web_1_open());
  },
  draw: ({ seed, first, count, kind, evaluations }) => answer(module.cm_web_1_draw(seed, first, count, kind ?? ANY, evaluations)),
  fillIn({ seed, kind, pixels, known }) {
    const both = new Uint8Array(pixels.length + known.length);
    both.set(pixels);
    both.set(known, pixels.length);
    give(both);
    return answer(module.cm_web_1_fill_in(seed, kind ?? ANY, pixels.length));
  },
};
onmessage = async ({ data }) => {
  try {
    const bytes = await works[data.work](data);
    postMessage({ number: data.number, bytes }, [bytes.buffer]);
  } catch (error) {
    postMessage({ number: data.number, error: error.message || String(error) });
  }
};
