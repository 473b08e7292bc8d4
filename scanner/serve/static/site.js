// Keys and short addresses.  Every page works without this file.
"use strict";

(() => {
  const rows = [...document.querySelectorAll("tr[data-row]")];
  const dialog = document.getElementById("keys");
  const button = document.querySelector("[data-keys]");

  const follow = (selector) => {
    const link = document.querySelector(selector);
    if (link) link.click();
    return Boolean(link);
  };

  const move = (step) => {
    const links = rows.map((row) => row.querySelector("a.open")).filter(Boolean);
    if (!links.length) return false;
    const at = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
    const next = at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + step));
    links[next].focus();
    links[next].closest("tr").scrollIntoView({ block: "nearest" });
    return true;
  };

  const focus = (selector) => {
    const field = document.querySelector(selector);
    if (!field) return false;
    if (field.closest("details")) field.closest("details").open = true;
    field.focus();
    if (field.select) field.select();
    return true;
  };

  const actions = {
    j: () => follow('[data-step="j"]') || move(1),
    k: () => follow('[data-step="k"]') || move(-1),
    n: () => follow('a[rel="next"]'),
    p: () => follow('a[rel="prev"]'),
    u: () => follow('a[rel="up"]') || follow("a.brand"),
    a: () => focus('.acknowledge input[name="reason"]'),
    "/": () => focus(".filters input, .filters select"),
    "?": () => { dialog.showModal(); return true; },
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
    if (event.target.matches("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (actions[event.key] && actions[event.key]()) event.preventDefault();
  });

  // What is left empty asks for nothing, and need not stand in the address.
  for (const form of document.querySelectorAll('form[method="get"]')) {
    form.addEventListener("formdata", (event) => {
      for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
    });
  }

  // On a narrow screen the filters would fill the first page.
  for (const box of document.querySelectorAll("details.filtering")) {
    if (matchMedia("(max-width: 46rem)").matches && box.dataset.filtered === "false") box.open = false;
  }

  // A click anywhere in a row opens it, unless text is being selected.
  for (const row of rows) {
    row.addEventListener("click", (event) => {
      const link = row.querySelector("a.open");
      if (link && !event.target.closest("a, button") && !String(getSelection())) link.click();
    });
  }

  button.hidden = false;
  button.addEventListener("click", () => dialog.showModal());
})();
