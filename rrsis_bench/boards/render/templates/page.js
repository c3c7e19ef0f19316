"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // --- theme: the system's, until the reader chooses; the choice is kept where the browser allows it
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const remembered = (value) => {
    try {
      if (value) localStorage.setItem("rrsis-theme", value);
      return localStorage.getItem("rrsis-theme");
    } catch { return null; }
  };
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  if (remembered()) root.dataset.theme = remembered();
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; remembered(root.dataset.theme); });

  // --- boards: one at a time, by the address
  const boards = all(".board");
  let shown = boards[0];
  const show = () => {
    // Names of boards need no decoding; an address such as #% could not be decoded. An address inside a board shows the
    // board. Any other, such as that of the link that skips the header, changes nothing.
    const target = document.getElementById(location.hash.slice(1));
    shown = boards.find((board) => `#${board.id}` === location.hash) || target?.closest(".board") || shown;
    for (const board of boards) board.hidden = board !== shown;
    for (const link of all("nav a")) {
      if (link.hash === `#${shown.id}`) {
        link.setAttribute("aria-current", "page");
        link.scrollIntoView({ block: "nearest", inline: "nearest" });
      } else link.removeAttribute("aria-current");
    }
    const compare = shown.querySelector(".compare");
    if (compare && !compare.dataset.ready) { compare.dataset.ready = "yes"; setUp(compare); }
    if (target && target !== shown && shown.contains(target)) target.scrollIntoView();
  };
  addEventListener("hashchange", () => {
    show();
    if (location.hash === `#${shown.id}`) { scrollTo(0, 0); shown.querySelector("h2").focus({ preventScroll: true }); }
  });

  // --- tables: sort by a heading, unknown values last; a third click brings the first order back
  for (const table of all("table")) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      if (!("sorts" in head.dataset)) return;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      const keys = original.map((row) => row.cells[column].dataset.key).filter((key) => key !== "");
      const numeric = keys.every((key) => !Number.isNaN(Number(key)));
      const first = numeric && head.textContent !== "#" ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const next = now === "none" ? first : now === first ? second : "none";
        for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1;
        const key = (row) => row.cells[column].dataset.key;
        const rows = next === "none" ? original : [...original].sort((one, other) => {
          const [x, y] = [key(one), key(other)];
          if (x === "" || y === "") return (x === "") - (y === "");
          return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y, "en"));
        });
        body.replaceChildren(...rows);
      });
    });
  }

  // --- filter: every word must occur somewhere in a row
  for (const filter of all(".filter")) {
    const board = filter.closest(".board");
    const [input, output] = [filter.querySelector("input"), filter.querySelector("output")];
    filter.hidden = false;
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = all("tbody tr", board);
      let left = 0;
      for (const row of rows) {
        row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
        left += !row.hidden;
      }
      output.textContent = words.length ? `${left} of ${rows.length} rows` : "";
    });
  }

  // --- masks: COCO run lengths down the columns, background first
  const decode = (counts, [height, width]) => {
    const mask = new Uint8Array(height * width);
    const runs = [];
    for (let place = 0; place < counts.length;) {
      let value = 0, shift = 0, more = true;
      while (more) {
        const code = counts.charCodeAt(place++) - 48;
        value |= (code & 31) << (5 * shift++);
        more = (code & 32) !== 0;
        if (!more && code & 16) value |= -1 << (5 * shift);
      }
      if (runs.length > 2) value += runs[runs.length - 2];
      runs.push(value);
    }
    let position = 0;
    runs.forEach((run, number) => {
      if (number % 2) for (let k = position; k < position + run; k++) mask[(k % height) * width + Math.floor(k / height)] = 1;
      position += run;
    });
    return mask;
  };
  const iou = (one, other) => {
    let inter = 0, union = 0;
    for (let k = 0; k < one.length; k++) { inter += one[k] & other[k]; union += one[k] | other[k]; }
    return union ? inter / union : 1;
  };

  const ZOOM = 3;
  const paint = (canvas, image, [height, width], truth, pred) => {
    canvas.width = width * ZOOM;
    canvas.height = height * ZOOM;
    const brush = canvas.getContext("2d");
    brush.imageSmoothingQuality = "high";
    brush.drawImage(image, 0, 0, canvas.width, canvas.height);
    const inside = (mask, x, y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x] === 1;
    if (pred) {
      brush.fillStyle = "rgba(255, 45, 149, 0.55)";
      for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (inside(pred, x, y)) brush.fillRect(x * ZOOM, y * ZOOM, ZOOM, ZOOM);
    }
    for (const [colour, thick] of [["rgba(0, 0, 0, 0.7)", 4], ["rgb(0, 229, 255)", 2]]) {
      brush.fillStyle = colour;
      for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
        if (!inside(truth, x, y)) continue;
        const [left, top, side] = [x * ZOOM, y * ZOOM, thick / 2];
        if (!inside(truth, x - 1, y)) brush.fillRect(left - side, top - side, thick, ZOOM + thick);
        if (!inside(truth, x + 1, y)) brush.fillRect(left + ZOOM - side, top - side, thick, ZOOM + thick);
        if (!inside(truth, x, y - 1)) brush.fillRect(left - side, top - side, ZOOM + thick, thick);
        if (!inside(truth, x, y + 1)) brush.fillRect(left - side, top + ZOOM - side, ZOOM + thick, thick);
      }
    }
  };

  // --- two methods side by side
  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const setUp = (compare) => {
    const { tables, pictures } = data.boards[compare.dataset.board];
    const choice = Object.fromEntries(all("select", compare).map((select) => [select.dataset.choice, select]));
    choice.table.append(...tables.map((table, number) => new Option(table.title, number)));
    choice.table.closest("label").hidden = tables.length < 2;
    compare.hidden = false;

    const draw = () => {
      const table = tables[choice.table.value];
      const chosen = ["a", "b"].map((side) => table.methods[choice[side].value]);
      for (const place of all("[data-bars]", compare)) {
        const kind = place.dataset.bars;
        place.parentElement.hidden = table.parts[kind].length === 0;
        place.replaceChildren(...table.parts[kind].map((name, number) => element("div", { className: "part" },
          element("span", { textContent: name }),
          element("div", {}, ...chosen.map((method, side) => {
            const value = method.parts[kind][number];
            const bar = element("i", { ariaHidden: "true" });
            bar.style.width = `calc((100% - 3.5rem) * ${(value ?? 0) / 100})`;
            const told = value === null ? "not known" : value.toFixed(2);
            return element("div", { className: "ab"[side], title: `${method.name}: ${told}` }, bar, element("span", { textContent: told }));
          })))));
      }
      const gallery = compare.querySelector(".gallery");
      if (!gallery) return;
      gallery.replaceChildren(...data.scenes.map((scene) => {
        const truth = decode(scene.truth, scene.size);
        const sides = chosen.map((method) => {
          const counts = (pictures[method.name] || {})[scene.id];
          return { name: method.name, mask: counts === undefined ? null : decode(counts, scene.size) };
        });
        const trio = element("div", { className: "trio" });
        for (const { name, mask } of [{ name: "truth", mask: undefined }, ...sides]) {
          const score = mask ? `IoU ${iou(truth, mask).toFixed(2)}` : "";
          const told = mask === null ? "no picture kept" : score;
          const canvas = element("canvas");
          canvas.setAttribute("role", "img");
          canvas.setAttribute("aria-label", mask === undefined ? `truth of “${scene.text}”` : `${name} on “${scene.text}”: ${told}`);
          const image = new Image();
          image.onload = () => paint(canvas, image, scene.size, truth, mask);
          image.src = `data:image/jpeg;base64,${scene.jpeg}`;
          trio.append(element("div", {}, canvas, element("p", { textContent: told ? `${name}: ${told}` : name })));
        }
        return element("figure", {}, element("figcaption", { textContent: `“${scene.text}”` }), trio);
      }));
    };
    const fill = () => {
      const { methods } = tables[choice.table.value];
      for (const side of ["a", "b"]) choice[side].replaceChildren(...methods.map((method, number) => new Option(method.name, number)));
      choice.b.value = Math.min(1, methods.length - 1);
      draw();
    };
    choice.table.addEventListener("change", fill);
    for (const side of ["a", "b"]) choice[side].addEventListener("change", draw);
    fill();
  };

  show();
})();
