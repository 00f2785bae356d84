// Keys of the worklist: j and k (or the arrows) to the next and the one before, Enter opens, t takes or lays back.
const rows = [...document.querySelectorAll("tr[data-item]")];
let here = -1;

function go(to) {
  if (!rows.length) return;
  rows[here]?.classList.remove("here");
  here = Math.max(0, Math.min(rows.length - 1, to));
  rows[here].classList.add("here");
  rows[here].scrollIntoView({ block: "nearest" });
  rows[here].querySelector(".settle a, .settle button, .settle summary")?.focus();
}

// Back from a form, the first that is left is the next.
if (new URLSearchParams(location.search).has("done")) go(0);

document.addEventListener("keydown", (event) => {
  if (event.target instanceof HTMLInputElement || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "j" || event.key === "ArrowDown") go(here + 1);
  else if (event.key === "k" || event.key === "ArrowUp") go(here - 1);
  else if (event.key === "t" && here >= 0) rows[here].querySelector('form[action="/take"] button')?.click();
  else return;
  event.preventDefault();
});
