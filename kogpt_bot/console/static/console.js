// The operator's page: asks /status every few seconds and shows it. Text is only ever set as text.
"use strict";
const EVERY_MS = 3000;
const MANY_MS = 10000; // an answer that takes longer is none
const $ = (id) => document.getElementById(id);
let language = navigator.language.startsWith("ko") ? "ko" : "en";
let last = null;
let problem = "";

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function partName(name, words) {
  const [kind, ...rest] = name.split(" ");
  return [words[kind] ?? kind, ...rest].join(" ");
}

function upTime(seconds, words) {
  const parts = [
    [Math.floor(seconds / 86400), words.days],
    [Math.floor(seconds / 3600) % 24, words.hours],
    [Math.floor(seconds / 60) % 60, words.minutes],
    [Math.floor(seconds) % 60, words.seconds],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  return parts.slice(first < 0 ? 3 : first, (first < 0 ? 3 : first) + 2).map((p) => p.join(words.gap)).join(" ");
}

function show() {
  const words = WORDS[language];
  document.documentElement.lang = language;
  $("language").textContent = words.other;
  for (const key of ["part", "state", "detail"]) $(`h-${key}`).textContent = words[key];
  const ready = last?.ready && !problem;
  $("summary").textContent = problem ? words[problem] : last ? words[ready ? "well" : "ill"] : "";
  $("summary").className = ready ? "well" : "ill";
  if (!last) return;
  $("version").textContent = last.version;
  $("parts").replaceChildren(...Object.entries(last.parts).map(([name, part]) => {
    const row = document.createElement("tr");
    const detail = element("td", part.detail);
    if (part.remedy) detail.append(element("p", `→ ${part.remedy}`, "remedy"));
    const state = element("td", words.states[part.state] ?? part.state, part.ready ? "well" : "ill");
    const label = element("th", partName(name, words));
    label.scope = "row";
    row.append(label, state, detail);
    return row;
  }));
  const figures = [
    [words.model, last.model], [words.up, upTime(last.uptime_s, words)],
    [words.answering, last.answering], [words.waiting, last.waiting],
    [words.restarts, last.generation_restarts],
  ];
  $("figures").replaceChildren(...figures.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  $("reload").hidden = !last.reload;
  if (last.reload) {
    const at = new Date(last.reload.at).toLocaleString(language);
    $("reload-title").textContent = `${words.reload}: ${words[last.reload.result]} (${at})`;
    $("faults").replaceChildren(...last.reload.faults.map((fault) => element("li", fault)));
  }
}

async function ask() {
  try {
    const answer = await fetch("/status", { signal: AbortSignal.timeout(MANY_MS) });
    problem = answer.ok ? "" : answer.status === 401 ? "denied" : "gone";
    if (answer.ok) last = await answer.json();
  } catch {
    problem = "gone";
  }
  show();
  setTimeout(ask, EVERY_MS);
}

$("language").addEventListener("click", () => {
  language = language === "ko" ? "en" : "ko";
  show();
});
show();
ask();
