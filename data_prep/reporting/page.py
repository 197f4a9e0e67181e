"""The look of a report: one HTML page with its style and script, and nothing to load.

The page forbids itself the network (Content-Security-Policy), follows the reader's
light or dark preference, and reads on a phone.
"""

TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline';
 script-src 'unsafe-inline'">
<title>{{ title }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<header>
<h1>{{ title }}</h1>
{%- if subtitle %}
<p class="subtitle">{{ subtitle }}</p>
{%- endif %}
{%- if sections|length > 6 %}
<nav aria-label="Contents">
{%- for section in sections %}
<a href="#s{{ loop.index }}">{{ section.heading }}</a>
{%- endfor %}
</nav>
{%- endif %}
</header>
{%- for section in sections %}
<section id="s{{ loop.index }}">
<h2>{{ section.heading }}</h2>
{%- if section.note %}
<p class="note">{{ section.note }}</p>
{%- endif %}
{{ section.body }}
</section>
{%- endfor %}
</main>
<div id="hover" role="tooltip" hidden><img alt=""><span></span></div>
<script>{{ script }}</script>
</body>
</html>
"""

STYLE = """
:root {
  --paper: #fbfaf7; --card: #ffffff; --ink: #22252a; --soft: #666a70;
  --line: #e2dfd7; --faint: #f1eee7; --accent: #1f5f8b; --on-accent: #ffffff;
  --warm: #b4532a; --point: #1f5f8b;
  --c0: #1f5f8b; --c1: #b4532a; --c2: #5b8c3e; --c3: #8a4f9e; --c4: #9a7b1c;
  --c5: #4d5966;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua",
    "URW Palladio L", Georgia, serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
    sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181b; --card: #1d2024; --ink: #e6e4df; --soft: #9da1a6;
    --line: #33373c; --faint: #24272c; --accent: #7db8dd; --on-accent: #10202b;
    --warm: #e39b70; --point: #8cc3e6;
    --c0: #7db8dd; --c1: #e39b70; --c2: #9cc67f; --c3: #c59ad6; --c4: #d8bd6a;
    --c5: #a9b3bd;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 var(--sans); font-variant-numeric: tabular-nums;
}
main { max-width: 62rem; margin: 0 auto; padding: 3.5rem 1.5rem 5rem; }
header { margin-bottom: 2.5rem; }
h1, h2 { font-family: var(--serif); font-weight: 600; line-height: 1.15;
  text-wrap: balance; }
h1 { font-size: clamp(1.9rem, 5vw, 2.9rem); margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1.45rem; margin: 0 0 .35rem; }
h3 { font-size: .95rem; font-weight: 600; margin: 1.6rem 0 .5rem; }
.subtitle { color: var(--soft); font-size: 1.08rem; margin: .7rem 0 0;
  max-width: 46rem; }
nav { margin-top: 1.5rem; font-size: .88rem; line-height: 2; }
nav a { margin-right: 1.1rem; white-space: nowrap; }
a { color: var(--accent); text-decoration-color: var(--line);
  text-underline-offset: .22em; }
section { border-top: 1px solid var(--line); padding: 1.9rem 0 1.4rem; }
details { margin: .9rem 0; }
summary { cursor: pointer; color: var(--accent); font-size: .92rem; width: fit-content;
  padding: .2rem 0; }
.note { color: var(--soft); margin: 0 0 1.2rem; max-width: 44rem; }
p { max-width: 44rem; overflow-wrap: break-word; }
.scroll { overflow-x: auto; margin: .9rem 0 1.2rem; }
table { border-collapse: collapse; font-size: .92rem; }
caption { caption-side: top; text-align: left; color: var(--soft);
  font-size: .88rem; padding-bottom: .4rem; }
th, td { padding: .38rem 1.15rem .38rem 0; text-align: left; vertical-align: baseline;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 500; font-size: .84rem;
  border-bottom-color: var(--soft); white-space: nowrap; vertical-align: bottom; }
tbody th { font-weight: 400; }
td:first-child:not(.number) { min-width: 8rem; }
.number { text-align: right; white-space: nowrap; }
tr.strong > * { font-weight: 650; }
.heat td, .heat th { padding: .5rem .7rem; border: 2px solid var(--paper); }
.heat thead th + th { text-align: center; }
.heat thead th, .heat tbody th { border-color: transparent; color: var(--soft); }
.heat td { min-width: 3.6rem; text-align: center; border-radius: 6px;
  background: color-mix(in oklab, var(--accent) calc(var(--share) * 92%),
    var(--faint)); }
.heat td.dark { color: var(--on-accent); }
.heat td small { display: block; opacity: .75; font-size: .72rem; }
.tiles { display: grid; gap: 1rem; margin: .6rem 0 1.2rem;
  grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: .9rem 1.1rem; }
.tile b { display: block; font: 600 1.75rem/1.2 var(--serif); margin: .15rem 0; }
.tile span { color: var(--soft); font-size: .86rem; display: block; }
.tile.strong { border-color: var(--accent); }
.tile.strong b { color: var(--accent); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.4rem;
  font-size: .92rem; margin: .8rem 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.pictures { display: grid; gap: 1rem .9rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(6.6rem, 1fr)); }
figure { margin: 0; }
.pictures img { width: 100%; display: block; border-radius: 5px;
  border: 1px solid var(--line); background: var(--faint); }
.pictures .pair { grid-column: span 2; }
.pictures .pair div { display: grid; grid-template-columns: 1fr 1fr; gap: .3rem; }
.pictures figcaption { font-size: .78rem; line-height: 1.35; color: var(--soft);
  margin-top: .3rem; overflow-wrap: anywhere; white-space: pre-line; }
.rungs { margin: 1rem 0 1.4rem; display: grid; column-gap: 1.1rem;
  grid-template-columns: minmax(9rem, 17rem) 1fr max-content; }
.rung { display: grid; grid-template-columns: subgrid; grid-column: 1 / -1; }
.rung svg, .plot svg { display: block; overflow: visible; width: 100%; }
.rung .track { position: relative; min-height: 20px; }
.rung .track svg { position: absolute; inset: 0; height: 100%; }
.rung .name, .rung .value { align-self: center; padding: .36rem 0; }
.rung .name { font-size: .92rem; line-height: 1.3; overflow-wrap: anywhere; }
.rung .name small { color: var(--soft); display: block; font-size: .8rem;
  font-weight: 400; }
.rung .value { text-align: right; font-size: .92rem; min-width: 3.6rem; }
.rung.strong .name, .rung.strong .value { font-weight: 650; }
.rung.axis { color: var(--soft); font-size: .8rem; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; color: var(--soft);
  font-size: .85rem; margin: .3rem 0 .6rem; max-width: none; }
.legend i { display: inline-block; width: .85em; height: .85em; border-radius: 50%;
  margin-right: .4em; vertical-align: -.06em; }
.legend i.dot { background: var(--soft); }
.legend i.ring { border: 2px solid var(--soft); }
.panels { display: grid; gap: 0 2rem; margin: .6rem 0;
  grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
.panels h4 { font-size: .88rem; font-weight: 600; margin: .8rem 0 0; }
.panels .plot { height: 11.5rem; margin: 0 0 .6rem; padding-top: 10px; }
.plot { position: relative; height: 24rem; max-width: 46rem; margin: 1rem 0 1.4rem;
  padding: 28px 14px 46px 52px; }
.plot.low { height: 13rem; padding-top: 12px; }
.plot svg { height: 100%; }
svg text { fill: var(--soft); font: 12px var(--sans); }
.grid { stroke: var(--line); stroke-width: 1; }
.guide { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 4; }
.whisker { stroke: var(--soft); stroke-width: 2; stroke-linecap: round; }
.dot { fill: var(--soft); }
.ring { fill: var(--paper); stroke: var(--soft); stroke-width: 1.6; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.line.c0 { stroke: var(--c0); } .legend i.c0 { background: var(--c0); }
.line.c1 { stroke: var(--c1); } .legend i.c1 { background: var(--c1); }
.line.c2 { stroke: var(--c2); } .legend i.c2 { background: var(--c2); }
.line.c3 { stroke: var(--c3); } .legend i.c3 { background: var(--c3); }
.line.c4 { stroke: var(--c4); } .legend i.c4 { background: var(--c4); }
.line.c5 { stroke: var(--c5); } .legend i.c5 { background: var(--c5); }
.bar { fill: var(--accent); fill-opacity: .75; }
.rung .bar { transform: translateY(-6px); }
.strong .dot { fill: var(--accent); }
.strong .bar { fill-opacity: 1; }
.strong .whisker, .strong .ring { stroke: var(--accent); }
.warn .dot, .warn .bar { fill: var(--warm); }
.point { fill: var(--point); fill-opacity: .5; cursor: pointer; }
.whisker + .point { fill-opacity: 1; }
.point:hover, .point:focus, .point.on { fill: var(--warm); fill-opacity: 1;
  outline: none; }
#hover { position: absolute; z-index: 9; pointer-events: none; max-width: 15rem;
  display: flex; gap: .7rem; align-items: center; padding: .5rem .7rem .5rem .5rem;
  background: var(--card); color: var(--ink); border: 1px solid var(--line);
  border-radius: 9px; box-shadow: 0 6px 22px rgb(0 0 0 / .22); font-size: .82rem;
  line-height: 1.4; white-space: pre-line; overflow-wrap: anywhere; }
#hover[hidden] { display: none; }
#hover img { width: 96px; height: 96px; object-fit: contain; border-radius: 5px;
  flex: none; }
#hover img[hidden] { display: none; }
@media (max-width: 40rem) {
  main { padding: 2rem 1rem 3rem; }
  .rungs { grid-template-columns: 1fr max-content; }
  .rung .name, .rung .value { padding: .4rem 0 .1rem; }
  .rung .track { grid-column: 1 / -1; grid-row: 2; height: 24px; }
  .rung.axis .name { grid-column: 1 / -1; grid-row: 3; text-align: center; }
  .rung.axis .value { display: none; }
  .plot { height: 20rem; padding-left: 42px; }
  .pictures { grid-template-columns: repeat(auto-fill, minmax(5.2rem, 1fr)); }
  .pictures.paired { gap: .8rem .6rem;
    grid-template-columns: repeat(auto-fill, minmax(4.9rem, 1fr)); }
  th, td { padding-right: .8rem; }
  .heat td, .heat th { padding: .4rem .35rem; }
  .heat td { min-width: 2.9rem; }
  .rung.axis text:first-child { text-anchor: start; }
  .rung.axis text:last-child { text-anchor: end; }
  dl { grid-template-columns: minmax(7rem, 1fr) minmax(0, auto); }
  dd { text-align: right; }
}
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""

SCRIPT = """
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
    const box = point.getBoundingClientRect(), own = card.getBoundingClientRect();
    const wide = document.documentElement.clientWidth;
    const left = Math.min(Math.max(8, box.right + 10), wide - own.width - 8);
    const above = box.top - own.height - 10;
    card.style.left = left + scrollX + "px";
    card.style.top = (above > 8 ? above : box.bottom + 10) + scrollY + "px";
  }
  const pointOf = (event) => event.target.closest?.("[data-caption]") ?? null;
  for (const kind of ["pointerover", "focusin", "click"])
    document.addEventListener(kind, (event) => show(pointOf(event)));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") show(null);
  });
})();
"""
