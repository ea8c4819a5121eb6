// Light live updates: when the server says that something happened, the page is fetched again and its marked parts are put in
// the place of the old ones. Without this script the page reads the same; it is only as old as its last load.
"use strict";

(() => {
  const EVERY_MS = 4000;
  const control = document.querySelector("[data-live-control]");
  const parts = () => document.querySelectorAll("[data-live]");
  if (!control || parts().length === 0 || !window.EventSource) return;

  const button = control.querySelector("button");
  const state = control.querySelector("[data-live-state]");
  const words = control.dataset;
  let source = null;
  let due = false;
  let timer = null;

  const tell = (text) => { if (state.textContent !== text) state.textContent = text; };

  // Nobody's place is taken away: a part that holds the focus or a selection waits for the next time.
  const isInUse = (part) => {
    const selection = document.getSelection();
    const selected = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
    return part.contains(document.activeElement) || selected || part.querySelector("details[open]") !== null;
  };

  const renew = async () => {
    timer = null;
    if (!due || document.hidden || source === null) return;
    due = false;
    try {
      const answer = await fetch(location.href, { headers: { "X-Tollgate-Live": "1" }, credentials: "same-origin" });
      if (answer.redirected || !answer.ok) return stop(words.liveEnded);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of parts()) {
        const next = fresh.getElementById(part.id);
        if (next && !isInUse(part) && part.innerHTML !== next.innerHTML) part.replaceChildren(...next.childNodes);
      }
    } catch {
      due = true;
    }
  };

  const soon = () => {
    due = true;
    if (timer === null) timer = setTimeout(renew, EVERY_MS);
  };

  const stop = (text) => {
    if (source) source.close();
    source = null;
    button.textContent = words.liveStart;
    tell(text);
  };

  const start = () => {
    source = new EventSource("/live");
    button.textContent = words.liveStop;
    source.addEventListener("open", () => tell(words.liveOn));
    source.addEventListener("changed", soon);
    source.addEventListener("ended", () => stop(words.liveEnded));
    source.addEventListener("error", () => { if (source && source.readyState === EventSource.CLOSED) stop(words.liveEnded); });
  };

  button.addEventListener("click", () => (source ? stop(words.liveOff) : start()));
  document.addEventListener("visibilitychange", () => { if (!document.hidden && due) soon(); });
  // An open stream would keep the page from the browser's cache of pages, and a place at the server.
  window.addEventListener("pagehide", () => { if (source) source.close(); });
  window.addEventListener("pageshow", (event) => { if (event.persisted && source) start(); });
  control.hidden = false;
  start();
})();
