// anywidget gives a widget's module two seconds from the birth of the widget. What Python says to the
// widget after that is dropped, always and without a word, though the module comes to life a moment
// later: a page busy with a large figure is late easily. So each of our modules hears Python by itself
// as soon as it lives, and asks for everything again if something was dropped before.

// Resolves when nothing is missing; `renewed` is called at the moment when everything came anew.
async function hear(model, renewed = () => {}) {
  const own = model.set({}); // Backbone's `set` returns the model itself, which anywidget hides
  const base = own && Object.getPrototypeOf(Object.getPrototypeOf(own)); // past anywidget's, which drops
  if (!own || !own.comm || !base || !base._handle_comm_msg) return;
  const dropped = own._handle_comm_msg({ content: { data: { method: "nothing" } } })
    .then(() => false, () => true);
  let complete;
  const everything = new Promise((resolve) => (complete = resolve));
  own.comm.on_msg(async (message) => {
    await base._handle_comm_msg.call(own, message);
    if (!("_model_name" in (message.content.data.state || {}))) return;
    renewed();
    complete();
  });
  if (!(await dropped) || !own.comm) return;
  own.comm.send({ method: "request_state" }, own.callbacks());
  await everything;
}
