// Shows an answer while it is made: appends tokens from the event stream, then reloads the finished page's answer.
(() => {
  "use strict";
  const answer = document.getElementById("answer");
  if (!answer || !answer.dataset.stream) return;
  const text = answer.querySelector("[data-answer]");
  const live = answer.querySelector("[data-live]");
  const source = new EventSource(answer.dataset.stream);
  let begun = false;
  source.addEventListener("token", (event) => {
    if (!begun) {
      text.textContent = "";
      live.textContent = "Answering …";
      begun = true;
    }
    text.append(JSON.parse(event.data).text);
  });
  source.addEventListener("done", async () => {
    source.close();
    const response = await fetch(location.pathname);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const finished = page.getElementById("answer");
    if (finished) answer.replaceWith(finished);
    for (const share of page.querySelectorAll("[data-share]")) {
      const shown = document.querySelector(`[data-share="${CSS.escape(share.dataset.share)}"]`);
      if (shown) shown.replaceWith(share);
    }
  });
  source.addEventListener("error", () => {
    live.textContent = source.readyState === EventSource.CLOSED
      ? "The connection ended. Reload the page to see the answer."
      : "The connection was lost; trying again …";
  });
})();
