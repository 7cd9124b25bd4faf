
// The page while its sweep runs: asks for itself again, takes over the parts that changed and leaves the others
// alone. In a part that is replaced, what the reader had opened, ordered, filtered, scrolled and focused stays.
(() => {
  "use strict";
  const root = document.documentElement;
  const state = document.getElementById("page-state");
  const main = document.getElementById("page-main");
  const key = (part) => part.id || part.tagName;
  const source = (page) => new Map([...page.getElementById("page-main").children].map((p) => [key(p), p.outerHTML]));
  let known = source(document); // as the server wrote it: this runs before the page is furnished
  let tag = "";

  function say(text) {
    if (state.textContent !== text) state.textContent = text;
  }

  async function ask() {
    try {
      const headers = tag ? { "If-None-Match": tag } : {};
      const answer = await fetch(location.pathname, { cache: "no-store", headers });
      if (!answer.ok && answer.status !== 304) throw new Error(answer.statusText);
      if (answer.status === 200) {
        tag = answer.headers.get("ETag") ?? "";
        take(new DOMParser().parseFromString(await answer.text(), "text/html"));
      }
      say("Follows the sweep");
    } catch {
      say("No answer from the server: this is the page as it was");
    }
  }

  // --- Taking over --------------------------------------------------------------------------------------------

  function take(page) {
    const fresh = source(page);
    const held = anchor();
    document.title = page.title;
    const nav = document.querySelector("#page-nav ul");
    const links = page.querySelector("#page-nav ul");
    if (nav.textContent !== links.textContent) nav.replaceChildren(...links.children);
    const present = new Map([...main.children].map((part) => [key(part), part]));
    for (const [name, part] of present) if (!fresh.has(name)) part.remove();
    let place = main.firstElementChild;
    for (const part of [...page.getElementById("page-main").children]) {
      const old = present.get(key(part));
      if (old && old !== place) main.insertBefore(old, place);
      const next = old && known.get(key(part)) === fresh.get(key(part)) ? old : document.adoptNode(part);
      if (!old) main.insertBefore(next, place);
      if (next !== old) old ? replace(old, next) : renewed(next);
      place = next.nextElementSibling;
    }
    known = fresh;
    if (held) scrollBy({ top: held.place().getBoundingClientRect().top - held.top, behavior: "instant" });
  }

  const renewed = (part) => document.dispatchEvent(new CustomEvent("renewed", { detail: part }));

  function replace(old, next) {
    const keep = reader(old);
    old.replaceWith(next);
    renewed(next);
    keep.forEach((restore) => restore(next));
  }

  /** What the reader did to a part, as functions that do it to another. */
  function reader(part) {
    return [...folds(part), ...filters(part), ...orders(part), ...scrolled(part), ...focus(part)];
  }

  const named = (part, selector, name) => new Map([...part.querySelectorAll(selector)].map((e) => [name(e), e]));

  function* folds(part) {
    const title = (fold) => fold.querySelector("summary").textContent;
    for (const [name, { open }] of named(part, "details", title)) {
      yield (next) => {
        const fold = named(next, "details", title).get(name);
        if (fold) fold.open = open;
      };
    }
  }

  function* filters(part) {
    const value = part.querySelector(".filter input")?.value;
    if (!value) return;
    yield (next) => {
      const input = next.querySelector(".filter input");
      if (!input) return;
      input.value = value;
      input.dispatchEvent(new Event("input"));
    };
  }

  function* orders(part) {
    for (const head of part.querySelectorAll('th[aria-sort$="ending"]')) {
      const { id } = head.closest("table");
      const { ariaSort, cellIndex } = head;
      yield (next) => {
        const same = next.querySelector(`#${CSS.escape(id)}`)?.tHead.rows[0].cells[cellIndex];
        const button = same?.querySelector("button");
        for (let turn = 0; turn < 2 && button && same.ariaSort !== ariaSort; turn++) button.click();
      };
    }
  }

  function* scrolled(part) {
    const name = (box) => box.getAttribute("aria-labelledby");
    for (const [which, { scrollLeft, scrollTop }] of named(part, ".scroll", name)) {
      if (!scrollLeft && !scrollTop) continue;
      yield (next) => named(next, ".scroll", name).get(which)?.scrollTo(scrollLeft, scrollTop);
    }
  }

  function* focus(part) {
    const focused = document.activeElement;
    if (!part.contains(focused)) return;
    const near = focused.closest("[id]");
    const place = near === focused ? -1 : [...near.querySelectorAll(focused.localName)].indexOf(focused);
    const caret = focused.selectionStart;
    yield () => {
      const again = document.getElementById(near.id);
      const target = place < 0 ? again : again?.querySelectorAll(focused.localName)[place];
      if (target && focused.tabIndex < 0) target.tabIndex = -1;
      target?.focus({ preventScroll: true });
      if (target && typeof caret === "number") target.setSelectionRange(caret, caret);
    };
  }

  /** The last named place above the middle of the window, and where it stands. */
  function anchor() {
    const names = [...main.querySelectorAll("[id]")].filter((e) => !e.closest("svg") && e.getClientRects().length);
    const above = names.filter((e) => e.getBoundingClientRect().top < innerHeight / 2).at(-1);
    const place = () => (above && document.getElementById(above.id)) ?? main;
    return scrollY > 0 && { place, top: place().getBoundingClientRect().top };
  }

  async function follow() {
    if (!document.hidden) await ask();
    setTimeout(follow, Number(root.dataset.live));
  }

  root.style.overflowAnchor = "none"; // it is done above, across parts that are replaced
  follow();
})();
