// A picture that the kernel draws: keys move it in time, and the kernel hears whether the page is dark.
function render({ model, el }) {
  const box = make("figure", "walle-picture"), image = make("img"), words = make("p", "walle-empty");
  image.alt = "";
  image.tabIndex = 0;
  image.draggable = false;
  box.append(image, words);
  el.append(box);
  let address = null, told = null;
  const free = () => { if (address) URL.revokeObjectURL(address); address = null; };
  const draw = () => {
    const data = model.get("data"), size = data ? data.byteLength : 0, before = address;
    address = null;
    image.alt = model.get("label");
    image.hidden = size === 0;
    words.textContent = model.get("words");
    words.hidden = words.textContent === "";
    delete image.dataset.drawn;
    if (size) {
      address = URL.createObjectURL(new Blob([data], { type: "image/png" }));
      image.src = address;
      image.style.width = `${model.get("wide")}px`;
    } else image.removeAttribute("src");
    if (before) URL.revokeObjectURL(before);
  };
  image.addEventListener("load", () => { image.dataset.drawn = String(model.get("drawn")); });
  const keys = {
    ArrowLeft: "earlier", ArrowRight: "later", "+": "closer", "=": "closer", "-": "wider", "0": "whole", Home: "whole",
  };
  box.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey || !model.get("moves")) return;
    event.preventDefault();
    event.stopPropagation();  // the notebook has its own meaning for these keys
    model.send({ kind: "move", to: keys[event.key] });
  });
  const theme = () => {
    if (told === isDark()) return;
    told = isDark();
    if (told !== model.get("dark")) model.send({ kind: "theme", dark: told });
  };
  const ends = [listen(model, { "change:drawn": draw }), onTheme(theme), free];
  draw();
  theme();
  return () => ends.forEach((end) => end());
}
export default { render };
