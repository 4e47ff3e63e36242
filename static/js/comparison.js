// Shows the sides of a comparison while they are made: appends each side's tokens from one event stream,
// then takes the finished page's section. Without a stream it looks again now and then.
(() => {
  "use strict";
  const LOST = "The connection was lost; trying again …";
  const begin = document.getElementById("comparison");
  if (!begin || !begin.dataset.stream) return;
  const texts = [...begin.querySelectorAll("[data-side]")];
  const states = [...begin.querySelectorAll("[data-state]")];
  const live = begin.querySelector("[data-live]");
  const begun = new Set();
  const source = new EventSource(begin.dataset.stream);

  const refresh = async () => {
    const response = await fetch(location.pathname);
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const found = page.getElementById("comparison");
    const place = document.getElementById("comparison");
    if (!found || !place) return;
    place.replaceWith(found);
    htmx.process(found);
    if (found.dataset.stream) setTimeout(refresh, 1500);
  };

  source.addEventListener("token", (event) => {
    const data = JSON.parse(event.data);
    if (!begun.has(data.side)) {
      begun.add(data.side);
      texts[data.side].textContent = "";
      states[data.side].textContent = "Answering …";
    }
    texts[data.side].append(data.text);
  });
  source.addEventListener("side", (event) => {
    const data = JSON.parse(event.data);
    states[data.side].textContent = data.status === "failed" ? `Failed: ${data.error}` : "Ended";
  });
  source.addEventListener("done", () => {
    source.close();
    refresh();
  });
  source.addEventListener("open", () => {
    if (live.textContent === LOST) live.textContent = "Answering …";
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) refresh();
    else live.textContent = LOST;
  });
})();
