// gives the page a file that the kernel made
function render({ model, el }) {
  const said = make("span", "walle-quiet");
  said.setAttribute("role", "status");
  el.append(said);
  const save = (message, buffers) => {
    if (!message || message.kind !== "file" || !buffers || !buffers.length) return;
    const address = URL.createObjectURL(new Blob([buffers[0]], { type: "application/octet-stream" }));
    const link = make("a");
    link.href = address;
    link.download = String(message.name);
    el.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
    said.textContent = String(message.told);
  };
  model.on("msg:custom", save);
  return () => model.off("msg:custom", save);
}
export default { render };
