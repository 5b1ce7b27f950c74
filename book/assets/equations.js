// Equations as small as the page asks for, on paper and on a phone; light colours on paper. A classic script, which also runs where the page was opened as a file.
{
  const PAPER = 640; // px of text across A4 and Letter with the margins of print.css
  const FONT = 13; // px, of print.css
  const SCALE = 1.06; // of _config.yml
  const LEAST = 0.72; // of its size; on a phone, what is still too wide scrolls
  let theme;

  const shrink = () => {
    for (const row of document.querySelectorAll('mjx-container[display="true"]')) {
      const size = parseFloat(getComputedStyle(row).fontSize), parent = row.parentElement;
      // A numbered equation is as wide as the page; MathJax notes the least that it needs, with the number's room on both sides.
      const numbered = row.getAttribute("width") === "full";
      const em = numbered ? parseFloat(row.style.minWidth) : row.querySelector("mjx-math")?.getBoundingClientRect().width / size;
      if (!(em > 0)) continue;
      const paper = row.closest(".admonition, li, dd, td") ? 0.9 * PAPER : PAPER;
      row.style.setProperty("--shrink", Math.min(1, paper / (em * FONT * SCALE)).toFixed(3));
      const least = em - (numbered ? parseFloat(row.querySelector("mjx-table").style.marginLeft) || 0 : 0);
      // Smaller letters are not quite smaller in proportion: two per cent to spare.
      const fit = parent.clientWidth / (least * parseFloat(getComputedStyle(parent).fontSize) * SCALE);
      row.style.setProperty("--least", `${least.toFixed(3)}em`);
      row.style.setProperty("--fit", Math.max(LEAST, Math.min(1, Math.floor(980 * fit) / 1000)));
    }
  };

  globalThis.MathJax?.startup?.promise?.then(shrink);
  addEventListener("resize", shrink);
  addEventListener("beforeprint", () => {
    theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    shrink();
  });
  addEventListener("afterprint", () => { document.documentElement.dataset.theme = theme; });
}
