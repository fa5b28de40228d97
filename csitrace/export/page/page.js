"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const tell = () => {
    button.setAttribute("aria-pressed", String(isDark()));
    button.textContent = isDark() ? "Light theme" : "Dark theme";
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    tell();
  });
  prefersDark.addEventListener("change", tell);
  tell();

  const search = document.getElementById("search");
  const volume = document.getElementById("of-volume");
  const witness = document.getElementById("of-witness");
  const count = document.getElementById("count");
  const tools = document.getElementById("tools");
  const rows = Array.from(document.querySelectorAll("#events tbody tr"), (row) => ({
    row,
    text: row.textContent.toLowerCase(),
    volumes: (row.dataset.of || "").split(" "),
    witness: row.dataset.by,
  }));
  const choose = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const each of rows) {
      const fits =
        words.every((word) => each.text.includes(word)) &&
        (!volume.value || each.volumes.includes(volume.value)) &&
        (!witness.value || each.witness === witness.value);
      each.row.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    count.value = `${shown} of ${rows.length} events`;
  };
  tools.hidden = false;
  for (const field of [search, volume, witness]) field.addEventListener("input", choose);
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && document.activeElement === search) {
      search.value = "";
      choose();
    }
  });
  choose();

  const open = () => {
    const target = location.hash.length > 1 ? document.getElementById(location.hash.slice(1)) : null;
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  window.addEventListener("hashchange", open);
  open();
})();
