"""Checks of the HTML page that a browser runs."""

from __future__ import annotations

CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const node of document.querySelectorAll("body *")) {
    const words = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!words || !node.checkVisibility()) continue;
    if (["SCRIPT", "STYLE", "OPTION", "TITLE"].includes(node.tagName)) continue;
    const ink = node instanceof SVGElement ? getComputedStyle(node).fill : getComputedStyle(node).color;
    const [x, y] = [light(rgb(ink)), light(ground(node))].sort((a, b) => b - a);
    if ((x + .05) / (y + .05) < 4.5) bad.push(`${node.tagName} ${node.textContent.trim().slice(0, 30)}`);
  }
  for (const node of document.querySelectorAll("input")) {
    if (!node.checkVisibility()) continue;
    const ink = getComputedStyle(node, "::placeholder");
    const [x, y] = [light(rgb(ink.color)), light(ground(node))].sort((a, b) => b - a);
    if ((x + .05) / (y + .05) < 4.5 || ink.opacity !== "1") bad.push(`placeholder ${node.id}`);
  }
  return bad;
}"""
"""Words whose colour is too near to that of their ground."""

OUT_OF_SIGHT = """(board) => {
  const scores = new Set(["mIoU", "oIoU", "Pr@.5", "Pr@.7", "Pr@.9"]);
  const bad = [];
  let seen = 0;
  for (const table of document.querySelectorAll(`#${board} table`)) {
    const edge = table.parentElement.getBoundingClientRect();
    const places = [...table.tHead.rows[0].cells].map((head, place) => scores.has(head.textContent) ? place : -1);
    for (const row of table.tBodies[0].rows) for (const place of places.filter((one) => one >= 0)) {
      const box = row.cells[place].getBoundingClientRect();
      seen++;
      if (box.left < edge.left || box.right > Math.min(edge.right, innerWidth)) bad.push(row.cells[place].textContent);
    }
  }
  return [seen, bad];
}"""
"""Number of scores of a board, and those that are not in sight."""


def check_names_and_ids(page):
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, a, canvas, [role=region], svg[role=img]")]
        .filter((n) => !(n.ariaLabel || n.textContent.trim() || n.labels?.length || n.getAttribute("aria-label")))
        .map((n) => n.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []
    twice = page.evaluate(
        "(() => { const s = [...document.querySelectorAll('[id]')].map((n) => n.id); "
        "return s.filter((id, k) => s.indexOf(id) !== k); })()"
    )
    assert twice == []
