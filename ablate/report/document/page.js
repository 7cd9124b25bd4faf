
// Comfort for the page, which is complete without it: colours at a button, sorting, a filter for the runs,
// and the way to a place that is folded away. Nothing is stored, nothing is fetched.
(() => {
  "use strict";
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);

  // --- Colours ------------------------------------------------------------------------------------------------

  function colours() {
    const button = byId("page-theme");
    const system = matchMedia("(prefers-color-scheme: dark)");
    const dark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
    const name = () => (button.textContent = dark() ? "Light colours" : "Dark colours");
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      name();
    });
    system.addEventListener("change", name);
    name();
    button.hidden = false;
  }

  // --- Sorting: up, down, and back to the order of the page ---------------------------------------------------

  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
  const plain = (text) => text.replaceAll("−", "-").trim();
  const compare = new Intl.Collator("en", { numeric: true }).compare;

  /** The first number of a cell, null if it has none: intervals go by their lower end. */
  function number(text) {
    const found = /[+-]?(\d[\d,]*(\.\d+)?|\.\d+)(e[+-]?\d+)?/i.exec(text);
    return found && Number(found[0].replaceAll(",", ""));
  }

  function sortable(table) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < 3) return;
    rows.forEach((row, place) => (row.place = place));
    for (const head of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sort(table, head.cellIndex, NEXT[head.ariaSort]));
    }
  }

  function sort(table, column, order) {
    for (const head of table.tHead.rows[0].cells) head.ariaSort = head.cellIndex === column ? order : "none";
    const numeric = table.tHead.rows[0].cells[column].classList.contains("n");
    const rows = [...table.tBodies[0].rows].map((row) => {
      const text = plain(row.cells[column].textContent);
      return { row, text, value: numeric ? number(text) : text };
    });
    const sign = order === "descending" ? -1 : 1;
    rows.sort((a, b) => {
      if (order === "none") return a.row.place - b.row.place;
      const missing = !/\w/.test(a.text) - !/\w/.test(b.text); // what is not there comes last, either way
      return missing || sign * (numeric ? a.value - b.value : compare(a.text, b.text)) || a.row.place - b.row.place;
    });
    table.tBodies[0].append(...rows.map(({ row }) => row));
  }

  // --- A filter above the runs of a section -------------------------------------------------------------------

  const RUNS = 'table[id^="runs-"]';

  function filterable(section) {
    const tables = [...section.querySelectorAll(RUNS)];
    const rows = tables.flatMap((table) => [...table.tBodies[0].rows]);
    if (rows.length < 8) return;
    const label = document.createElement("label");
    const input = document.createElement("input");
    const count = document.createElement("output");
    label.className = "filter";
    input.type = "search";
    input.id = `${section.id}-filter`;
    input.autocomplete = "off";
    input.spellcheck = false;
    label.append("Filter runs", input, count);
    const outer = [...section.children].find((child) => child.contains(tables[0]));
    outer.before(label);
    const apply = () => (count.textContent = narrow(tables, rows, input.value));
    input.addEventListener("input", apply);
  }

  /** Shows the rows that have every word; says how many. */
  function narrow(tables, rows, text) {
    const words = plain(text).toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const has = plain(row.textContent).toLowerCase();
      row.hidden = !words.every((word) => has.includes(word));
      shown += !row.hidden;
    }
    for (const table of tables) {
      const some = [...table.tBodies[0].rows].some((row) => !row.hidden);
      table.closest("figure").hidden = !some;
      const fold = table.closest("details");
      if (fold && words.length && some) fold.open = true;
    }
    return words.length ? `${shown} of ${rows.length} runs` : "";
  }

  // --- The place that a link leads to ---------------------------------------------------------------------------

  const named = (hash) => byId(hash.slice(1));

  /** Unfolds and unfilters a place, and puts the reader there. */
  function reveal(place) {
    for (let fold = place.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    const filter = place.hidden && place.closest("section").querySelector(".filter input");
    if (filter) {
      filter.value = "";
      filter.dispatchEvent(new Event("input"));
    }
    const row = place.matches("tr");
    if (row || framed) {
      place.tabIndex = -1;
      place.focus({ preventScroll: true });
    }
    place.scrollIntoView(row ? { block: "center", inline: "nearest" } : {});
  }

  // In the frame of an artifact viewer the page has an address that even its own links may not lead to.
  const framed = ["blob:", "about:"].includes(location.protocol);

  function leadWithin(event) {
    const place = named(event.target.closest('a[href^="#"]')?.getAttribute("href") ?? "");
    if (!place) return;
    event.preventDefault();
    reveal(place);
  }

  function arrive() {
    const place = named(location.hash);
    if (place) reveal(place);
  }

  // --- What can be scrolled can be reached by keyboard, and nothing else stops there --------------------------

  const watch = new ResizeObserver((entries) => entries.forEach(({ target }) => stop(target)));

  function stop(box) {
    const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
    if (scrolls) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }

  // --- Where the reader is ------------------------------------------------------------------------------------

  const near = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const link = byId("page-nav").querySelector(`a[href="#${CSS.escape(target.id)}"]`);
        link?.removeAttribute("aria-current");
        if (!link || !isIntersecting) continue;
        link.setAttribute("aria-current", "true");
        link.closest("ul").scrollLeft = link.offsetLeft - link.closest("ul").offsetLeft; // of the strip on a phone
      }
    },
    { rootMargin: "-20% 0px -79% 0px" }, // a line a fifth down the window
  );

  // --- A group of runs, brought out of the many by its name in the legend -------------------------------------

  function separable(svg) {
    const runs = [...svg.querySelectorAll("a[data-values]")];
    const colour = (part) => /\b(c\d|quiet)\b/.exec(part.querySelector(".line")?.getAttribute("class"))?.[1];
    const isName = (part) => part.localName === "g" && part.querySelector("text") && colour(part);
    const names = runs.length ? [...svg.children].filter(isName) : [];
    if (names.length < 2) return;
    let pinned = null;
    const show = (name) => runs.forEach((run) => run.classList.toggle("dim", !!name && colour(run) !== colour(name)));
    for (const name of names) {
      name.setAttribute("role", "button");
      name.setAttribute("tabindex", "0");
      name.setAttribute("aria-pressed", "false");
      const press = () => {
        pinned = pinned === name ? null : name;
        names.forEach((each) => each.setAttribute("aria-pressed", String(each === pinned)));
        show(pinned);
      };
      name.addEventListener("click", press);
      name.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        press();
      });
      for (const enter of ["pointerenter", "focus"]) name.addEventListener(enter, () => show(name));
      for (const leave of ["pointerleave", "blur"]) name.addEventListener(leave, () => show(pinned));
    }
  }

  // --- Paper shows what is folded -----------------------------------------------------------------------------

  function unfoldForPaper() {
    let folded = [];
    addEventListener("beforeprint", () => {
      folded = [...document.querySelectorAll("details:not([open])")];
      folded.forEach((fold) => (fold.open = true));
    });
    addEventListener("afterprint", () => folded.forEach((fold) => (fold.open = false)));
  }

  /** Adds comfort to a part of the page. */
  function furnish(part) {
    part.querySelectorAll("table").forEach(sortable);
    part.querySelectorAll(".scroll, pre").forEach((box) => watch.observe(box));
    part.querySelectorAll("svg.fig").forEach(separable);
    if (!part.matches("section")) return;
    filterable(part);
    near.observe(part);
  }

  colours();
  [...byId("page-main").children].forEach(furnish);
  unfoldForPaper();
  addEventListener("hashchange", arrive);
  if (framed) document.addEventListener("click", leadWithin);
  document.addEventListener("renewed", (event) => furnish(event.detail));
  arrive();
})();
