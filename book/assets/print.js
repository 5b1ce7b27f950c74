// Before printing: light colours, and equations as small as the width of the paper asks for. A classic script, which also runs where the page was opened as a file.
{
  const PAPER = 640; // px of text across A4 and Letter with the margins of print.css
  const FONT = 13; // px, of print.css
  let theme;

  const shrink = () => {
    for (const row of document.querySelectorAll('mjx-container[display="true"]')) {
      const drawn = row.querySelector("mjx-math"), size = parseFloat(getComputedStyle(row).fontSize);
      // A numbered equation is as wide as the page; MathJax notes the least that it needs.
      const em = row.getAttribute("width") === "full" ? parseFloat(row.style.minWidth) : drawn?.getBoundingClientRect().width / size;
      const room = row.closest(".admonition, li, dd, td") ? 0.9 * PAPER : PAPER;
      if (em > 0) row.style.setProperty("--shrink", Math.min(1, room / (em * FONT * 1.06)).toFixed(3));
    }
  };

  addEventListener("beforeprint", () => {
    theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    shrink();
  });
  addEventListener("afterprint", () => { document.documentElement.dataset.theme = theme; });
}
