/* What the page does besides its charts: open what a link leads to, copy, sort and filter. Without it everything can still be read. */
(() => {
  "use strict";
  const {make, say, open} = diagCharts;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  /* Charts are made when they come to be seen. */

  for (const curves of all(".curves")) {
    const folded = curves.closest("details.run");
    if (!folded || folded.open) open(curves);
    else folded.addEventListener("toggle", () => folded.open && open(curves), {once: false});
  }

  function reveal() {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const folded = target.closest("details.run");
    if (folded && !folded.open) folded.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", reveal);
  reveal();

  /* On paper nothing of what is shown is folded away. */

  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = all("details.more, details.evidence").filter((part) => !part.open && !part.closest("details.run:not([open])"));
    for (const part of unfolded) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of unfolded) part.open = false;
  });

  /* Findings and their steps */

  for (const finding of all(".finding[data-steps]")) {
    const code = finding.querySelector(".code").textContent;
    const button = make("button", {type: "button", text: "show", "aria-label": `Show ${code} on the curves`});
    button.addEventListener("click", () => {
      const curves = finding.closest(".body").querySelector(".curves");
      const [first, last] = finding.dataset.steps.split(" ").map(Number);
      curves.show(first, last);
      curves.scrollIntoView({block: "nearest"});
      say(`The curves show steps ${first} to ${last}.`);
    });
    finding.querySelector(".finding-head").append(button);
  }

  /* Copying */

  async function copy(source) {
    const text = source.textContent;
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const selection = getSelection();
      selection.removeAllRanges();
      const range = document.createRange();
      range.selectNodeContents(source);
      selection.addRange(range);
      return document.execCommand("copy");
    }
  }

  for (const snippet of all(".snippet")) {
    const label = snippet.querySelector(".muted").textContent;
    const button = make("button", {type: "button", text: "Copy", "aria-label": `Copy ${label}`});
    button.addEventListener("click", async () => {
      const done = await copy(snippet.querySelector("code"));
      button.textContent = done ? "Copied" : "Selected";
      say(done ? `Copied ${label}.` : "The text is selected; copy it with the keyboard.");
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    snippet.querySelector(".snippet-head").append(button);
  }

  /* Many runs */

  const overview = document.getElementById("overview");
  if (!overview) return;
  const table = overview.querySelector("table.runs");
  const parts = new Map();
  for (const part of all("[data-run]:not(.curves)")) {
    if (!parts.has(part.dataset.run)) parts.set(part.dataset.run, []);
    parts.get(part.dataset.run).push(part);
  }
  const runs = all("tbody tr", table).map((row, place) => ({
    row,
    place,
    id: row.dataset.run,
    verdict: row.dataset.verdict,
    text: row.textContent.toLowerCase(),
  }));

  /* Sorting */

  const collator = new Intl.Collator("en", {numeric: true});

  /* What a run is sorted by: null where there is nothing, which comes last either way. */
  function key(run, column, numeric) {
    const {dataset, textContent} = run.row.cells[column];
    if (!numeric) return textContent;
    return dataset.sort === "" ? null : Number(dataset.sort);
  }

  function order(a, b, way) {
    if (a === null || b === null) return (a === null) - (b === null);
    return way * (typeof a === "string" ? collator.compare(a, b) : a < b ? -1 : a > b ? 1 : 0);
  }

  all("thead th", table).forEach((head, column) => {
    const name = head.textContent;
    const numeric = runs.some((run) => run.row.cells[column].dataset.sort !== undefined);
    const button = make("button", {type: "button", text: name});
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keys = new Map(runs.map((run) => [run, key(run, column, numeric)]));
      const sorted = [...runs].sort((a, b) => order(keys.get(a), keys.get(b), down ? -1 : 1) || a.place - b.place);
      // the parts of the runs below keep their order: they are too much to move for every click
      for (const run of sorted) for (const part of parts.get(run.id)) if (part.tagName !== "DETAILS") part.parentNode.append(part);
      say(`Sorted by ${name}, ${down ? "descending" : "ascending"}.`);
    });
  });

  /* Filtering */

  const boxes = new Map();
  for (const item of all(".verdicts li", overview)) {
    const box = make("input", {type: "checkbox", checked: true});
    item.append(make("label", {}, box, ...item.childNodes));
    boxes.set(item.dataset.verdict, box);
    box.addEventListener("change", filter);
  }
  const search = make("input", {type: "search", autocomplete: "off", placeholder: "name, cause or code"});
  const shown = make("span", {class: "muted"});
  const reset = make("button", {type: "button", text: "Show all"});
  search.addEventListener("input", filter);
  reset.addEventListener("click", () => {
    search.value = "";
    for (const box of boxes.values()) box.checked = true;
    filter();
  });
  overview.querySelector(".verdicts").after(
    make("div", {class: "filter"}, make("label", {}, make("span", {text: "Filter"}), search), reset, shown),
  );

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const run of runs) {
      const fits = boxes.get(run.verdict).checked && words.every((word) => run.text.includes(word));
      count += fits;
      for (const part of parts.get(run.id)) part.hidden = !fits;
    }
    shown.textContent = count === runs.length ? "" : `${count.toLocaleString("en")} of ${runs.length.toLocaleString("en")} runs`;
    reset.hidden = count === runs.length;
  }
  filter();
})();
