// The battle page: nonce, both answers while they are made, tabs on narrow screens, keys of the verdicts.
(() => {
  "use strict";
  const LOST = "The connection was lost; trying again …";
  for (const field of document.querySelectorAll("[data-nonce]")) {
    if (field.value) continue;
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    field.value = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  document.addEventListener("keydown", (event) => {
    const verdicts = event.target.closest("[data-verdicts]");
    if (!verdicts || event.ctrlKey || event.metaKey || event.altKey) return;
    const choice = verdicts.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (!choice) return;
    event.preventDefault();
    choice.checked = true;
    choice.focus();
  });

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-plain-switch]")) event.target.form.requestSubmit();
  });

  enhance();
  stream();

  function enhance() {
    for (const button of document.querySelectorAll("[data-without-script]")) button.hidden = true;
    for (const group of document.querySelectorAll("[data-sides]")) addTabs(group);
  }

  function addTabs(group) {
    const panels = [...group.children];
    const list = document.createElement("div");
    list.className = "side-tabs";
    list.setAttribute("role", "tablist");
    list.setAttribute("aria-label", "Answers");
    const tabs = panels.map((panel, number) => {
      const tab = document.createElement("button");
      tab.type = "button";
      tab.className = "secondary";
      tab.setAttribute("role", "tab");
      tab.id = `tab-${panel.dataset.side}`;
      panel.id = `side-${panel.dataset.side}`;
      tab.setAttribute("aria-controls", panel.id);
      tab.textContent = `Answer ${panel.dataset.side.toUpperCase()}`;
      tab.addEventListener("click", () => select(number));
      tab.addEventListener("keydown", (event) => {
        if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
        select(1 - number);
        tabs[1 - number].focus();
      });
      list.append(tab);
      return tab;
    });
    function select(chosen) {
      tabs.forEach((tab, number) => {
        tab.setAttribute("aria-selected", String(number === chosen));
        tab.tabIndex = number === chosen ? 0 : -1;
        panels[number].classList.toggle("is-hidden", number !== chosen);
      });
    }
    group.classList.add("is-tabbed");
    group.before(list);
    select(0);
  }

  function stream() {
    const battle = document.querySelector("[data-battle]");
    if (!battle || !battle.dataset.stream) return;
    const live = document.querySelector("[data-live]");
    const texts = {};
    for (const element of battle.querySelectorAll("[data-text]")) texts[element.closest("[data-side]").dataset.side] = element;
    const shown = { a: "", b: "" };
    const source = new EventSource(battle.dataset.stream);
    source.addEventListener("text", (event) => {
      const data = JSON.parse(event.data);
      for (const side of ["a", "b"]) {
        shown[side] += data[side];
        texts[side].textContent = shown[side];
      }
    });
    source.addEventListener("done", async () => {
      source.close();
      const response = await fetch(battle.dataset.battle);
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      for (const id of ["battle", "verdict"]) document.getElementById(id).replaceWith(page.getElementById(id));
      enhance();
      live.textContent = page.querySelector("[data-live]").textContent;
    });
    source.addEventListener("open", () => {
      if (live.textContent === LOST) live.textContent = "Both contestants are answering …";
    });
    source.addEventListener("error", () => {
      live.textContent = source.readyState === EventSource.CLOSED
        ? "The connection ended. Reload the page to see the answers."
        : LOST;
    });
  }
})();
