function render({ model, el }) {
  const box = make("div", "walle-notice");
  el.append(box);
  const draw = () => {
    const text = model.get("text"), error = model.get("kind") === "error";
    box.setAttribute("role", error ? "alert" : "status");
    box.dataset.kind = error ? "error" : "info";
    box.textContent = text;
    box.hidden = text === "";
    el.hidden = text === "";
  };
  const stop = listen(model, { "change:text": draw, "change:kind": draw });
  draw();
  return stop;
}
export default { render };
