// What a page owes to people who cannot see it well, or use no mouse: found faults as lines of text. Returned to the test.
const faults = [];
const say = (what, element) => faults.push(`${what}: ${element.outerHTML.slice(0, 90)}`);
const shown = (element) => element.checkVisibility({ visibilityProperty: true }) && element.getClientRects().length > 0;

// ---- names (WCAG 1.1.1, 1.3.1, 3.1.1, 4.1.2)
if (!document.documentElement.lang) faults.push("the page has no language");
if (!document.title) faults.push("the page has no title");
if (document.querySelectorAll("h1").length !== 1) faults.push("the page has not one main heading");
for (const one of document.querySelectorAll("img:not([alt])")) say("a picture without words", one);
for (const one of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
  if (shown(one) && !one.labels?.length && !one.getAttribute("aria-label")) say("a field without a label", one);
}
for (const one of document.querySelectorAll("button, a[href], summary")) {
  const words = one.textContent.trim() || one.getAttribute("aria-label") || one.querySelector("img")?.alt;
  if (shown(one) && !words) say("nothing says what it does", one);
}
for (const one of document.querySelectorAll("svg[role=img]:not([aria-label])")) say("a drawing without words", one);
const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
for (const id of ids.filter((one, place) => ids.indexOf(one) !== place)) faults.push(`an id twice: ${id}`);

// ---- contrast (WCAG 1.4.3)
const parts = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
const linear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
function ground(element) {
  for (let one = element; one; one = one.parentElement) {
    const colour = parts(getComputedStyle(one).backgroundColor);
    if (colour.length >= 3 && (colour[3] ?? 1) > 0) return colour;
  }
  return [255, 255, 255];
}
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const element = node.parentElement;
  // Letters on a picture have an edge of their own; what is switched off is exempt.
  if (!node.textContent.trim() || !shown(element) || element.closest("script, .view, [disabled]")) continue;
  const style = getComputedStyle(element), size = parseFloat(style.fontSize);
  const ink = light(parts(element instanceof SVGElement ? style.fill : style.color)), paper = light(ground(element));
  const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  if (ratio < (large ? 3 : 4.5)) say(`contrast ${ratio.toFixed(2)}`, element);
}

// ---- room (WCAG 1.4.10)
const page = document.scrollingElement;
if (page.scrollWidth > page.clientWidth + 1) faults.push(`wider than the window: ${page.scrollWidth} of ${page.clientWidth}`);
return faults;
