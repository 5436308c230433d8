// The chat page: rooms, speakers, an event stream per room. Everything shown is set as text.
import { Panel, button, download, element } from "./panel.js";
import { WORDS } from "./words.js";

const $ = (id) => document.getElementById(id);
const TYPING_LASTS_MS = 6000;
const newId = () => [...crypto.getRandomValues(new Uint8Array(12))].map((b) => b.toString(16).padStart(2, "0")).join("");

// What this browser remembers. Storage may be forbidden or full: then the page forgets on reload.
function load() {
  try { return JSON.parse(localStorage.getItem("kogpt-bot") || "{}"); } catch { return {}; }
}
function save() {
  try { localStorage.setItem("kogpt-bot", JSON.stringify(state)); } catch { /* forgotten on reload */ }
}

const state = { language: "ko", rooms: [], room: "", speakers: [], speaker: "", called: [], ...load() };
let words = WORDS[state.language] ?? WORDS.ko;
if (!state.rooms.length) state.rooms = [{ id: newId(), name: words.firstRoom }];
if (!state.rooms.some((room) => room.id === state.room)) state.room = state.rooms[0].id;
if (!state.speakers.length) state.speakers = [{ id: newId(), name: words.guest }];
if (!state.speakers.some((speaker) => speaker.id === state.speaker)) state.speaker = state.speakers[0].id;
save();

const shown = new Map(); // message id -> its element
let stream = null;
let typingTimer = 0;

const room = () => state.rooms.find((each) => each.id === state.room);
const speaker = () => state.speakers.find((each) => each.id === state.speaker);

// --- words -----------------------------------------------------------------------------------

function translate() {
  words = WORDS[state.language] ?? WORDS.ko;
  document.documentElement.lang = state.language;
  $("language").value = state.language;
  for (const each of document.querySelectorAll("[data-text]")) each.textContent = words[each.dataset.text];
  for (const each of document.querySelectorAll("[data-label]")) each.setAttribute("aria-label", words[each.dataset.label]);
  for (const each of document.querySelectorAll("[data-hint]")) {
    each.placeholder = words[each.dataset.hint];
    each.setAttribute("aria-label", words[each.dataset.hint]);
  }
  for (const each of document.querySelectorAll("[data-command]")) {
    const command = commandWords(each.dataset.command);
    each.textContent = `${command.emoji} ${command.label}`.trim();
    each.title = command.description;
  }
  showLists();
  showButtons();
  showEmpty();
}

// The words of the commands are the core's, the same as on every platform.
let commands = {};
function commandWords(kind) {
  const found = commands[kind];
  return { emoji: found?.emoji ?? "", ...(found?.[state.language] ?? { label: kind, description: "" }) };
}
async function loadCommands() {
  const answer = await fetch("/api/commands").catch(() => null);
  if (!answer?.ok) return;
  commands = await answer.json();
  translate();
}

function notice(text, wrong = true) {
  $("notice").textContent = wrong ? text : "";
  $("notice").hidden = !wrong || !text;
  $("told").textContent = wrong ? "" : text;
  $("told").hidden = wrong || !text;
}

// --- rooms and speakers ----------------------------------------------------------------------

function showLists() {
  const fill = (list, items, current, choose, remove) => {
    list.replaceChildren(...items.map((item) => {
      const row = element("li");
      const button = element("button", "", item.name);
      button.type = "button";
      button.setAttribute("aria-current", String(item.id === current));
      button.addEventListener("click", () => choose(item.id));
      row.append(button);
      if (items.length > 1) {
        const away = element("button", "remove", "×");
        away.type = "button";
        away.setAttribute("aria-label", `${item.name} ${words.remove}`);
        away.addEventListener("click", () => remove(item.id));
        row.append(away);
      }
      return row;
    }));
  };
  fill($("rooms"), state.rooms, state.room, openRoom, (id) => {
    state.rooms = state.rooms.filter((each) => each.id !== id);
    openRoom(id === state.room ? state.rooms[0].id : state.room);
  });
  fill($("speakers"), state.speakers, state.speaker, chooseSpeaker, (id) => {
    state.speakers = state.speakers.filter((each) => each.id !== id);
    chooseSpeaker(id === state.speaker ? state.speakers[0].id : state.speaker);
  });
  $("room-name").textContent = room().name;
  $("speaking-as").textContent = speaker().name;
  $("called").checked = state.called.includes(state.room);
}

function chooseSpeaker(id) {
  state.speaker = id;
  save();
  showLists();
  for (const [, each] of shown) markMine(each);
  $("text").focus();
}

function openRoom(id) {
  state.room = id;
  save();
  $("side").classList.remove("open");
  $("menu").setAttribute("aria-expanded", "false");
  notice("");
  showLists();
  connect();
}

function adder(form, input, list, choose) {
  $(form).addEventListener("submit", (event) => {
    event.preventDefault();
    const name = $(input).value.trim();
    if (!name) return;
    $(input).value = "";
    const known = state[list].find((each) => each.name === name);
    const item = known ?? { id: newId(), name };
    if (!known) state[list].push(item);
    choose(item.id);
  });
}

// --- the event stream ------------------------------------------------------------------------

function connect() {
  stream?.close();
  shown.clear();
  $("messages").replaceChildren();
  $("status").textContent = words.connecting;
  stream = new EventSource(`/api/rooms/${encodeURIComponent(state.room)}/events`);
  stream.addEventListener("open", () => { $("status").textContent = ""; });
  stream.addEventListener("error", () => {
    $("status").textContent = words.lost;
    // The browser comes back by itself after a cut, but not after an error status.
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  });
  stream.addEventListener("message", (event) => receive(JSON.parse(event.data)));
}

function receive(event) {
  const list = $("messages");
  const atEnd = event.type === "snapshot" || list.scrollHeight - list.scrollTop - list.clientHeight < 120;
  if (event.type === "snapshot") {
    shown.clear();
    $("messages").replaceChildren();
    for (const message of event.messages) show(message);
  } else if (event.type === "message") {
    if (event.message.bot) typing(false);
    show(event.message);
  } else if (event.type === "delete") {
    shown.get(event.id)?.remove();
    shown.delete(event.id);
  } else if (event.type === "typing") {
    typing(true);
  }
  showEmpty();
  showButtons();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function show(message) {
  const list = $("messages");
  let item = shown.get(message.id);
  if (!item) {
    item = element("li", "message");
    item.append(element("div", "who", message.author), element("div", "bubble"));
    item.dataset.author = message.author;
    item.classList.toggle("bot", message.bot);
    shown.set(message.id, item);
    list.insertBefore(item, list.querySelector(".dots"));
    markMine(item);
  }
  item.querySelector(".bubble").textContent = message.text;
  item.classList.toggle("writing", message.bot && !message.final);
  item.dataset.offers = message.final ? message.offers.join(" ") : "";
}

function markMine(item) {
  item.classList.toggle("mine", !item.classList.contains("bot") && item.dataset.author === speaker().name);
}

function typing(on) {
  clearTimeout(typingTimer);
  $("messages").querySelector(".dots")?.remove();
  if (!on) return;
  const item = element("li", "message dots");
  item.append(element("div", "bubble"));
  $("messages").append(item);
  $("messages").scrollTop = $("messages").scrollHeight;
  typingTimer = setTimeout(() => { typing(false); showButtons(); }, TYPING_LASTS_MS);
}

// Stop while an answer is written; what an answer offers under it when it is done. Only the last
// one can be written anew: what came after another one would speak of something else.
function showButtons() {
  const list = $("messages");
  $("stop").hidden = !list.querySelector(".writing, .dots");
  const last = [...shown.values()].at(-1);
  for (const [id, item] of shown) {
    const offers = $("stop").hidden ? (item.dataset.offers || "").split(" ").filter(Boolean) : [];
    const kinds = offers.filter((kind) => kind !== "regenerate" || item === last);
    if (kinds.length) kinds.push("report");
    showTools(id, item, kinds);
  }
}

function showTools(id, item, kinds) {
  const wanted = kinds.join(" ") + state.language + Object.keys(commands).length;
  let tools = item.querySelector(".tools");
  if (tools?.dataset.shown === wanted) return;
  tools?.remove();
  if (!kinds.length) return;
  tools = element("div", "tools");
  tools.dataset.shown = wanted;
  for (const kind of kinds) tools.append(tool(kind, id));
  item.append(tools);
}

function tool(kind, id) {
  const command = commandWords(kind);
  const again = kind === "regenerate";
  const made = button(again ? words.again : command.emoji || command.label, () => press(kind, id, made), again ? "again" : kind);
  made.title = command.description;
  if (!again) made.setAttribute("aria-label", command.label);
  if (kind === "good" || kind === "bad") made.setAttribute("aria-pressed", String(judged.get(id) === kind));
  return made;
}

const judged = new Map(); // message id -> good or bad, as far as this page knows
async function press(kind, id) {
  if (kind === "report") {
    panel.report(commandWords(kind).label, (value) => act(kind, { message_id: id, value }, true));
    return;
  }
  const result = await act(kind, { message_id: id }, kind === "good" || kind === "bad");
  if (!result?.done || (kind !== "good" && kind !== "bad")) return;
  judged.set(id, kind);
  for (const each of shown.get(id)?.querySelectorAll(".good, .bad") ?? []) {
    each.setAttribute("aria-pressed", String(each.classList.contains(kind)));
  }
}

function showEmpty() {
  const list = $("messages");
  list.querySelector(".empty")?.remove();
  if (shown.size || list.querySelector(".dots")) return;
  const box = element("li", "empty");
  box.append(element("p", "", words.empty));
  const tries = element("div", "tries");
  for (const text of words.tries) {
    const button = element("button", "", text);
    button.type = "button";
    button.addEventListener("click", () => say(text));
    tries.append(button);
  }
  box.append(tries);
  list.append(box);
}

// --- talking ---------------------------------------------------------------------------------

async function post(path, body) {
  let answer;
  try {
    answer = await fetch(`/api/rooms/${encodeURIComponent(state.room)}/${path}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
  } catch {
    notice(words.unreachable);
    return null;
  }
  const result = await answer.json().catch(() => ({ error: words.unreachable }));
  if (!answer.ok) {
    notice(result.error ?? words.unreachable);
    return null;
  }
  notice("");
  return result;
}

async function say(text) {
  const sent = await post("messages", { id: newId(), author: speaker(), text, direct: !state.called.includes(state.room) });
  return sent !== null;
}

// Ask for something; what came of it is told where it went wrong, or where `tell` says so.
async function act(kind, fields = {}, tell = false) {
  const direct = !state.called.includes(state.room);
  const result = await post("actions", { kind, author: speaker(), direct, language: state.language, ...fields });
  if (result && !result.done) notice(result.text);
  else if (result && tell) notice(result.text, false);
  return result;
}

const panel = new Panel($("panel"), act, () => words);
const MINE = {
  export: async () => { const result = await act("export", {}, true); if (result?.file) download(result.file); },
  forget: () => confirm(words.sureForget) && act("forget", {}, true),
  opt_out: () => confirm(words.sureOptOut) && act("opt_out", {}, true),
  opt_in: () => act("opt_in", {}, true),
};
for (const each of document.querySelectorAll("#mine button")) {
  each.addEventListener("click", () => MINE[each.dataset.command]());
}
$("settings").addEventListener("click", () => panel.settings());
$("help").addEventListener("click", () => panel.tell(words.help, ["help", "status"]));

function grow() {
  const box = $("text");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}

$("composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("text").value;
  if (!text.trim()) { notice(words.empty_message); return; }
  $("text").value = "";
  grow();
  if (!(await say(text)) && !$("text").value) { $("text").value = text; grow(); } // nothing typed is lost
});
$("text").addEventListener("input", grow);
$("text").addEventListener("keydown", (event) => {
  // While Hangul is being composed, Enter ends the syllable and does not send.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) {
    event.preventDefault();
    $("composer").requestSubmit();
  }
});
$("stop").addEventListener("click", () => act("stop"));
$("clear").addEventListener("click", () => { if (confirm(words.sure)) act("clear"); });
$("called").addEventListener("change", () => {
  state.called = state.called.filter((id) => id !== state.room);
  if ($("called").checked) state.called.push(state.room);
  save();
});
$("language").addEventListener("change", () => { state.language = $("language").value; save(); translate(); });
$("menu").addEventListener("click", () => {
  $("menu").setAttribute("aria-expanded", String($("side").classList.toggle("open")));
});
adder("add-room", "new-room", "rooms", openRoom);
adder("add-speaker", "new-speaker", "speakers", chooseSpeaker);

translate();
connect();
loadCommands();
$("text").focus();
