// Runs the widgets of a static page: gives each the model that anywidget would, without a kernel.
// MODULES holds the source of each kind's ES module. A blob is the one way to import a module
// that works for a page opened from disk too.
const urls = {};
const moduleUrl = (kind) =>
  (urls[kind] ||= URL.createObjectURL(new Blob([MODULES[kind]], { type: "text/javascript" })));

function staticModel(state) {
  const listeners = {};
  return {
    get: (name) => state[name],
    set: (name, value) => {
      state[name] = value;
      (listeners["change:" + name] || []).forEach((listener) => listener());
    },
    on: (event, listener) => (listeners[event] ||= []).push(listener),
    save_changes() {},
  };
}

async function start(el) {
  const state = JSON.parse(el.querySelector("script").textContent);
  const module = await import(moduleUrl(el.dataset.kind));
  el.replaceChildren();
  module.default.render({ model: staticModel(state), el });
  el.dataset.ready = "1";
}

document.querySelectorAll(".lm-widget[data-kind]").forEach((el) => start(el).catch((error) => {
  el.dataset.error = String(error);
  console.error(error);
}));
