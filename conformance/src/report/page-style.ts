/** Style of all pages: system fonts, both colour schemes, no picture and no font from elsewhere. */
export const PAGE_STYLE: string = `
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5a616b; --paper: #ffffff; --line: #d9dde3; --field: #f4f6f8; --good: #17693a; --bad: #b3261e; --warn: #8a5a00; --link: #0b57b7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e9ec; --soft: #a3abb6; --paper: #14171a; --line: #333a42; --field: #1d2126; --good: #6fd394; --bad: #ff8f87; --warn: #f0b959; --link: #8ab8ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h1 small { font-weight: 400; color: var(--soft); }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
a { color: var(--link); }
code, pre { font: .88em/1.45 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; margin: 0; }
.facts, .or, .count { color: var(--soft); }
.verdict { font-size: 1.15rem; font-weight: 600; margin: .25rem 0; } .verdict.good { color: var(--good); } .verdict.bad { color: var(--bad); }
.scroll { overflow-x: auto; overflow-wrap: normal; } .scroll code { white-space: nowrap; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th.n, td.n { text-align: right; white-space: nowrap; }
.diagnosis { border-left: 4px solid var(--bad); background: var(--field); padding: .2rem 1.2rem .8rem; margin-top: 1.5rem; }
.diagnosis h2 { margin-top: .8rem; } .diagnosis li { margin: .4rem 0; }
details { margin: .4rem 0; } summary { cursor: pointer; }
details.case { border: 1px solid var(--line); padding: .45rem .8rem; border-radius: 4px; }
.tag { display: inline-block; min-width: 5.5rem; font-weight: 600; } .failed .tag, .unexpected .tag { color: var(--bad); } .known .tag, .inconclusive .tag { color: var(--warn); }
dl { display: grid; grid-template-columns: 6.5rem 1fr; gap: .25rem .8rem; margin: .5rem 0; } dt { color: var(--soft); } dd { margin: 0; min-width: 0; }
td.yes { color: var(--good); } td.no { color: var(--bad); } td.part { color: var(--warn); } td.none { color: var(--soft); }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; } .pictures figure { margin: 0; } .pictures img { image-rendering: pixelated; width: 256px; max-width: 100%; border: 1px solid var(--line); }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; } .tag { min-width: 0; margin-right: .3rem; } }
`;
