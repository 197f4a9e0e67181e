(() => {
  const card = document.getElementById("hover");
  const image = card.querySelector("img"), text = card.querySelector("span");
  let shown = null;
  function show(point) {
    if (shown) shown.classList.remove("on");
    shown = point;
    if (!point) { card.hidden = true; return; }
    point.classList.add("on");
    image.hidden = !point.dataset.picture;
    if (point.dataset.picture) image.src = point.dataset.picture;
    text.textContent = point.dataset.caption;
    card.hidden = false;
    const box = point.getBoundingClientRect(), size = card.getBoundingClientRect();
    const wide = document.documentElement.clientWidth;
    const left = Math.min(Math.max(8, box.right + 10), wide - size.width - 8);
    const above = box.top - size.height - 10;
    card.style.left = left + scrollX + "px";
    card.style.top = (above > 8 ? above : box.bottom + 10) + scrollY + "px";
  }
  const pointOf = (event) => event.target.closest?.("[data-caption]") ?? null;
  for (const type of ["pointerover", "focusin", "click"])
    document.addEventListener(type, (event) => show(pointOf(event)));
  for (const slider of document.querySelectorAll(".slider input")) {
    const figures = slider.closest("section").querySelectorAll("[data-value]");
    const output = slider.closest(".slider").querySelector("output");
    const move = () => {
      let visible = 0;
      for (const figure of figures) {
        figure.hidden = +figure.dataset.value < +slider.value;
        visible += !figure.hidden;
      }
      output.textContent = (+slider.value).toFixed(2) + ": " + visible + " of " + figures.length;
    };
    slider.addEventListener("input", move);
    move();
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") show(null);
  });
})();
