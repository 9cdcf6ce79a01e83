// Without this script the page lacks only the slider; the table of thresholds says the same.
"use strict";
{
  const slider = document.getElementById("threshold");
  const chosen = document.getElementById("chosen");
  const cells = [...document.querySelectorAll("[data-kept]")];
  const kept = cells.map((cell) => cell.dataset.kept.split(","));
  const bins = document.querySelectorAll("rect[data-from]");

  const show = () => {
    const percent = Number(slider.value);
    chosen.textContent = (percent / 100).toFixed(2);
    cells.forEach((cell, row) => {
      cell.textContent = Number(kept[row][percent]).toLocaleString("en");
    });
    for (const bin of bins) bin.classList.toggle("below", Number(bin.dataset.from) < percent);
  };

  for (const part of document.querySelectorAll("[data-live]")) part.hidden = false;
  slider.addEventListener("input", show);
  show();
}
