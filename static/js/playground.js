// Shows an answer while it is made: appends tokens from the event stream, marks the matches found so far,
// then takes the finished page's answer and its trace.
(() => {
  "use strict";
  const LOST = "The connection was lost; trying again …";
  const answer = document.getElementById("answer");
  if (!answer || !answer.dataset.stream) return;
  const text = answer.querySelector("[data-answer]");
  const live = answer.querySelector("[data-live]");
  const source = new EventSource(answer.dataset.stream);
  const matches = answer.dataset.matches ? new EventSource(answer.dataset.matches) : null;
  let begun = false;
  let whole = "";

  // Offsets are code points; the server cut them, so they are never searched for here.
  const mark = (spans) => {
    const characters = Array.from(whole);
    const pieces = [];
    let end = 0;
    for (const span of spans) {
      if (span.end <= end) continue;
      const start = Math.max(span.start, end);
      pieces.push(characters.slice(end, start).join(""));
      const found = document.createElement("mark");
      found.className = "span relevance-low";
      found.title = Object.entries(span.counts).map(([corpus, count]) => `${corpus}: ${count}`).join(", ");
      found.textContent = characters.slice(start, span.end).join("");
      pieces.push(found);
      end = span.end;
    }
    pieces.push(characters.slice(end).join(""));
    text.replaceChildren(...pieces);
  };

  source.addEventListener("token", (event) => {
    if (!begun) {
      text.textContent = "";
      live.textContent = "Answering …";
      begun = true;
    }
    const piece = JSON.parse(event.data).text;
    whole += piece;
    text.append(piece);
  });
  source.addEventListener("done", async () => {
    source.close();
    if (matches) matches.close();
    const response = await fetch(location.pathname);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const finished = page.getElementById("answer");
    if (finished) answer.replaceWith(finished);
    for (const share of page.querySelectorAll("[data-share]")) {
      const shown = document.querySelector(`[data-share="${CSS.escape(share.dataset.share)}"]`);
      if (shown) shown.replaceWith(share);
    }
    const traced = page.getElementById("traced");
    const place = document.getElementById("traced");
    if (traced && place) {
      place.replaceWith(traced);
      htmx.process(traced);
    }
  });
  source.addEventListener("open", () => {
    if (live.textContent === LOST) live.textContent = "Answering …";
  });
  source.addEventListener("error", () => {
    live.textContent = source.readyState === EventSource.CLOSED
      ? "The connection ended. Reload the page to see the answer."
      : LOST;
  });
  if (matches) {
    matches.addEventListener("matches", (event) => {
      const found = JSON.parse(event.data);
      if (Array.from(whole).length >= found.n_characters) mark(found.spans);
    });
    matches.addEventListener("done", () => matches.close());
  }
})();
