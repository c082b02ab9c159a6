// The shop's looks: one small style sheet, light and dark, no scripts.

/** `/style.css`. */
export const STYLE = `
:root { color-scheme: light dark; --ink: #23211c; --muted: #6b665c; --paper: #faf8f3; --card: #ffffff;
  --line: #e2dccf; --accent: #1f5f4a; --on-accent: #ffffff; --warn: #8a4b00; --ok: #1f6b3a; }
@media (prefers-color-scheme: dark) { :root { --ink: #ece7dc; --muted: #a8a194; --paper: #191816; --card: #22211e;
  --line: #38352f; --accent: #6cc3a4; --on-accent: #10231c; --warn: #e5a85c; --ok: #7fce98; } }
* { box-sizing: border-box; }
body { margin: 0; font: 1rem/1.6 ui-serif, Georgia, "Times New Roman", serif; color: var(--ink); background: var(--paper); }
a { color: var(--accent); text-underline-offset: .2em; }
a:focus-visible, button:focus-visible, input:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 1rem; top: 1rem; background: var(--card); padding: .5rem 1rem; z-index: 1; }
.bar { border-bottom: 1px solid var(--line); background: var(--card); }
.bar > div { display: flex; flex-wrap: wrap; gap: .5rem 2rem; align-items: baseline; justify-content: space-between; }
.wide { max-width: 68rem; margin: 0 auto; padding: 1rem 1.25rem; }
.brand { font-size: 1.35rem; font-weight: 700; letter-spacing: -.01em; color: inherit; text-decoration: none; }
nav ul { display: flex; gap: 1.5rem; list-style: none; margin: 0; padding: 0; font-family: system-ui, sans-serif; font-size: .95rem; }
nav a[aria-current] { color: inherit; font-weight: 600; text-decoration: none; }
h1 { font-size: 2rem; line-height: 1.2; margin: 1.5rem 0 .5rem; letter-spacing: -.02em; }
h2 { font-size: 1.15rem; margin: 0 0 .25rem; }
.muted { color: var(--muted); }
.grid { display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); list-style: none; padding: 0; margin: 1.5rem 0; }
.card { display: flex; flex-direction: column; gap: .5rem; padding: 1.25rem; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.card h2 a { color: inherit; text-decoration: none; }
.card h2 a:hover { text-decoration: underline; }
.card p { margin: 0; }
.card form { margin-top: auto; }
.row { display: flex; justify-content: space-between; align-items: baseline; gap: 1rem; }
.price { font-size: 1.15rem; font-weight: 700; font-variant-numeric: tabular-nums; }
.stock { font: .85rem system-ui, sans-serif; color: var(--muted); }
.stock.low { color: var(--warn); }
button, .button { font: 600 .95rem system-ui, sans-serif; color: var(--on-accent); background: var(--accent); border: 0;
  border-radius: .4rem; padding: .6rem 1.1rem; cursor: pointer; text-decoration: none; display: inline-block; }
button.quiet { background: transparent; color: var(--accent); padding: .3rem .2rem; text-decoration: underline; text-underline-offset: .2em; }
button:disabled { background: var(--line); color: var(--muted); cursor: not-allowed; }
label { font: .9rem system-ui, sans-serif; }
input { font: 1rem system-ui, sans-serif; padding: .5rem .6rem; color: inherit; background: var(--paper); border: 1px solid var(--muted); border-radius: .4rem; max-width: 100%; }
input[type=number] { width: 5.5rem; }
.field { display: grid; gap: .25rem; margin: 1rem 0; max-width: 24rem; }
.inline { display: flex; gap: .6rem; align-items: center; flex-wrap: wrap; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; margin: 1rem 0; background: var(--card); border: 1px solid var(--line); }
caption { text-align: left; padding: .5rem 0; color: var(--muted); }
th, td { text-align: left; padding: .65rem .8rem; border-bottom: 1px solid var(--line); vertical-align: middle; }
th { font: 600 .85rem system-ui, sans-serif; color: var(--muted); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
tfoot th, tfoot td { font-weight: 700; border-bottom: 0; color: var(--ink); }
.badge { font: 600 .8rem system-ui, sans-serif; padding: .15rem .6rem; border-radius: 1rem; border: 1px solid currentColor; white-space: nowrap; }
.badge.placed { color: var(--warn); }
.badge.confirmed { color: var(--ok); }
.notice { border-left: 4px solid var(--accent); background: var(--card); padding: .75rem 1rem; margin: 1rem 0; }
.notice.bad { border-color: var(--warn); }
code { font-size: .9em; overflow-wrap: anywhere; }
footer { color: var(--muted); font: .85rem system-ui, sans-serif; border-top: 1px solid var(--line); margin-top: 3rem; }
`;
