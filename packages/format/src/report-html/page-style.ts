/** Style of the pages: no fonts, no images, no network. Light, dark, and light again on paper. */
export const PAGE_STYLE: string = `
:root{color-scheme:light dark;--bg:#fff;--panel:#f6f7f9;--ink:#16191d;--soft:#59616b;--line:#d9dde3;--grid:#e4e7ec;--a:#1f6feb;--b:#c4570a;--pos:#22863a;--neg:#b31d46}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--panel:#1c2026;--ink:#e8eaed;--soft:#a2aab5;--line:#343a43;--grid:#2a3038;--a:#6aa9ff;--b:#f29a54;--pos:#5cc975;--neg:#ff7d9c}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{max-width:1120px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:19px;margin:40px 0 4px}
h3{font-size:14px;margin:0 0 8px;font-weight:600}
p{margin:4px 0 12px;max-width:76ch}
.soft,figcaption,caption{color:var(--soft)}
.verdict{font-size:17px;border-left:4px solid var(--a);padding:6px 12px;background:var(--panel);border-radius:0 6px 6px 0;overflow-wrap:anywhere;max-width:none}
dl.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));gap:10px 20px;margin:20px 0 0}
dl.facts div{border-top:1px solid var(--line);padding-top:6px}
dt{color:var(--soft);font-size:12.5px}
dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.panels{display:flex;flex-wrap:wrap;gap:20px;align-items:flex-start}
figure{margin:0;padding:14px 16px 12px;background:var(--panel);border:1px solid var(--line);border-radius:8px;max-width:100%}
figcaption{font-size:12.5px;margin-top:6px}
.multiples{display:grid;grid-template-columns:repeat(auto-fill,minmax(166px,1fr));gap:10px;margin:0 0 20px}
.multiples svg{background:var(--panel);border:1px solid var(--line);border-radius:6px;padding:4px}
svg{display:block;max-width:100%;height:auto}
svg text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;fill:var(--ink);font-variant-numeric:tabular-nums}
svg text.soft{fill:var(--soft);font-size:10px}
svg text.name{font-weight:600}
svg .grid{stroke:var(--grid);stroke-width:1}
svg .axis{stroke:var(--soft);stroke-width:1}
svg .a{fill:var(--a)}svg .b{fill:var(--b)}svg .pos{fill:var(--pos)}svg .neg{fill:var(--neg)}
svg .la{stroke:var(--a);fill:none;stroke-width:1.2;opacity:.6}
svg .lb{stroke:var(--b);fill:none;stroke-width:1.4;opacity:.85;stroke-dasharray:4 3}
.key{display:inline-block;width:12px;height:12px;border-radius:2px;margin:0 6px 0 0;vertical-align:-1px}
.key.a{background:var(--a)}.key.b{background:var(--b)}
ul.legend{list-style:none;padding:0;margin:10px 0 14px}
ul.legend li{overflow-wrap:anywhere}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;min-width:60%}
caption{text-align:left;padding-bottom:6px;font-size:12.5px}
th,td{padding:3px 12px 3px 0;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{font-weight:600}
th[scope=row],td.t,th.t{text-align:left}
th[scope=row]{font-weight:400}
tbody tr.head th{padding-top:12px;font-weight:600}
details{margin-top:16px}
summary{cursor:pointer;color:var(--a)}
ul.notes{padding-left:20px}
footer{margin-top:48px;border-top:1px solid var(--line);padding-top:10px;font-size:12.5px;color:var(--soft)}
@media print{:root{color-scheme:light;--bg:#fff;--panel:#fff;--ink:#000;--soft:#444;--line:#bbb;--grid:#ddd;--a:#1f6feb;--b:#c4570a;--pos:#22863a;--neg:#b31d46}
main{max-width:none;padding:0}figure,.multiples svg,tr{break-inside:avoid}h2{break-after:avoid}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
`;
