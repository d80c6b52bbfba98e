// Functions that all parts share. Data becomes text nodes only: nothing here reads a string as markup.
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const isDark = () => {
  const said = document.body.dataset.jpThemeLight;
  if (said !== undefined) return said === "false";
  return window.matchMedia("(prefers-color-scheme: dark)").matches;
};
// calls back when the page turns dark or light; returns how to stop
const onTheme = (callback) => {
  const watcher = new MutationObserver(callback);
  watcher.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name"] });
  const query = window.matchMedia("(prefers-color-scheme: dark)");
  query.addEventListener("change", callback);
  return () => { watcher.disconnect(); query.removeEventListener("change", callback); };
};
const styled = (name, otherwise, node) => getComputedStyle(node || document.body).getPropertyValue(name).trim() || otherwise;
// changes of a model, all ended by one call
const listen = (model, handlers) => {
  for (const [event, handler] of Object.entries(handlers)) model.on(event, handler);
  return () => { for (const [event, handler] of Object.entries(handlers)) model.off(event, handler); };
};
// a canvas as sharp as the screen
const sharp = (canvas, width, height) => {
  const ratio = window.devicePixelRatio || 1;
  const wide = Math.round(width * ratio), high = Math.round(height * ratio);
  if (canvas.width !== wide || canvas.height !== high) { canvas.width = wide; canvas.height = high; }
  canvas.style.height = `${height}px`;
  const drawing = canvas.getContext("2d");
  drawing.setTransform(ratio, 0, 0, ratio, 0, 0);
  return drawing;
};
