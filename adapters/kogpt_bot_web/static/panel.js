// The dialog over the page: help, status, settings with where they come from, a report's reason.

export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export function button(text, onClick, className = "") {
  const made = element("button", className, text);
  made.type = "button";
  made.addEventListener("click", onClick);
  return made;
}

// `act(kind, fields)` asks the server and returns its result or null; `words()` are the page's.
export class Panel {
  constructor(dialog, act, words) {
    this.dialog = dialog;
    this.act = act;
    this.words = words;
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }

  open(title, ...content) {
    this.dialog.querySelector("h2").textContent = title;
    this.dialog.querySelector(".body").replaceChildren(...content);
    if (!this.dialog.open) this.dialog.showModal();
  }

  // Help and status: what the bot says of itself.
  async tell(title, kinds) {
    const results = [];
    for (const kind of kinds) results.push(await this.act(kind));
    const texts = results.filter(Boolean).map((result) => element("p", "text", result.text));
    if (texts.length) this.open(title, ...texts);
  }

  async settings(told = "") {
    const result = await this.act("settings");
    if (!result) return;
    const status = element("p", "told", told || result.text);
    status.setAttribute("role", "status");
    const list = element("ul", "settings");
    list.append(...(result.settings ?? []).map((view) => this.row(view)));
    this.open(this.words().settings, status, list);
  }

  row(view) {
    const words = this.words();
    const item = element("li");
    const form = element("form");
    const id = `setting-${view.name}`;
    const label = element("label", "name", view.name);
    label.htmlFor = id;
    const field = view.choices.length ? element("select") : element("input");
    for (const choice of view.choices) field.append(new Option(choice, choice));
    field.id = id;
    field.value = view.value;
    field.autocomplete = "off";
    field.setAttribute("aria-describedby", `${id}-about`);
    const change = element("button", "", words.change);
    const about = element("p", "note", `${view.source} · ${view.allowed}`);
    about.id = `${id}-about`;
    form.append(label, field, change, button("↺", () => this.change("reset", view.name, ""), "reset"), about);
    form.querySelector(".reset").setAttribute("aria-label", `${view.name} ${words.reset}`);
    form.querySelector(".reset").title = words.reset;
    change.setAttribute("aria-label", `${view.name} ${words.change}`);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.change("set", view.name, field.value);
    });
    item.append(form);
    return item;
  }

  // The panel stays where it was; what came of it stands on top.
  async change(kind, name, value) {
    const place = this.dialog.querySelector(".body").scrollTop;
    const result = await this.act(kind, { name, value });
    if (!result) return;
    await this.settings(result.text);
    this.dialog.querySelector(".told").classList.toggle("wrong", !result.done);
    this.dialog.querySelector(".body").scrollTop = place;
    document.getElementById(`setting-${name}`)?.focus({ preventScroll: true });
  }

  report(title, send) {
    const words = this.words();
    const form = element("form", "report");
    const reason = element("textarea");
    reason.rows = 4;
    reason.maxLength = 2000;
    reason.placeholder = words.reason;
    reason.setAttribute("aria-label", words.reason);
    form.append(reason, element("button", "", title));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.dialog.close();
      send(reason.value);
    });
    this.open(title, form);
    reason.focus();
  }
}

// Hand a file of a result to the person.
export function download(file) {
  const bytes = Uint8Array.from(atob(file.base64), (letter) => letter.charCodeAt(0));
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: "application/json" }));
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
