"""HTML template and style sheet of every report."""

from __future__ import annotations

import string

WARNING = """<p class=warning role=note><strong>SYNTHETIC weights.</strong> They were made up for trying things out.
Nothing on this page is a finding about brains.</p>"""

PAGE_TEMPLATE = string.Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; color: #1f2933; background: white;
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1rem 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-bottom: .2rem; border-bottom: 1px solid #d5dbe1; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
.warning { padding: .7rem 1rem; background: #fff3cd; border-left: .4rem solid #d39e00; }
.verdict { padding: .9rem 1.2rem; border-left: .5rem solid; background: #edf7f0; border-color: #3f8f58; }
.verdict.failed { background: #fdf0ee; border-color: #b0413e; }
.verdict p { margin: .3rem 0; }
.verdict b { font-size: 1.6rem; line-height: 1.2; color: #2f6f44; }
.verdict.failed b { color: #97332f; }
tr.passed td:first-child { color: #3f8f58; }
tr.failed { background: #fdf0ee; color: #97332f; }
tr.failed td:first-child, tr.failed td.number { font-weight: 700; }
details { margin: 1rem 0; }
summary { cursor: pointer; font-weight: 700; }
figure { margin: 1.5rem 0; }
.beside { columns: 2 22rem; column-gap: 1.5rem; }
.beside figure { margin: 0; padding: .75rem 0; break-inside: avoid; }
img { display: block; max-width: min(100%, 36rem); height: auto; margin: 0 auto; background: white; }
input { position: absolute; opacity: 0; }
label { display: block; cursor: zoom-in; }
label:has(:checked) { cursor: zoom-out; }
:checked + img { max-width: none; width: max(100%, 1350px); }
label:has(:focus-visible) { outline: 2px solid #20639b; }
figcaption { margin-top: .5rem; font-size: .95rem; }
td:first-child { white-space: nowrap; }
small { display: block; color: #5b6770; font-size: .8rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: 1rem; }
.gallery img { width: 100%; }
.gallery small { line-height: 1.3; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal; }
th, td { padding: .25rem .7rem .25rem 0; text-align: left; border-bottom: 1px solid #e7ebef; vertical-align: top; }
td.number, th.number { font-variant-numeric: tabular-nums; text-align: right; }
td.number { white-space: nowrap; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .1rem 1rem; margin: 0;
  font-size: .9rem; }
details dl { grid-template-columns: minmax(0, 1fr) minmax(0, 2fr); }
dt { color: #5b6770; }
dd { margin: 0; min-width: 0; }
dd:has(> dl) { grid-column: 1 / -1; padding-left: 1rem; }
@media (max-width: 30rem) { table { font-size: .75rem; } th, td { padding-right: .35rem; }
  .many { width: max-content; } .many td { max-width: 14rem; } details dl { grid-template-columns: minmax(0, 1fr); } }
pre { padding: .7rem; background: #f2f4f7; white-space: pre-wrap; font-size: .85rem; }
@media (prefers-color-scheme: dark) {
  body { color: #e4e8ec; background: #16191d; }
  h2, th, td { border-color: #3a424b; }
  small, dt { color: #a3adb8; }
  .warning { background: #3d3212; }
  .verdict { background: #16301f; }
  .verdict.failed, tr.failed { background: #3a1b19; color: #f3b4ae; }
  .verdict b { color: #8fd3a5; }
  .verdict.failed b { color: #f3b4ae; }
  pre { background: #23282e; }
}
</style>
</head>
<body>
<h1>$title</h1>
$warning
$lead
$sections
<section><h2>How to repeat it</h2>
<pre>$command</pre>
<p>All of these settings are in <code>config.json</code>.</p>
$settings
</section>
<section><h2>Provenance</h2>
$provenance
</section>
</body>
</html>
""")
