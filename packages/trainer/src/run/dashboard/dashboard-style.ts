/** Style of the live page: the colours of the other pages of this project; no fonts, no network. */
export const DASHBOARD_STYLE: string = `
:root{color-scheme:light dark;--bg:#fff;--panel:#f6f7f9;--ink:#16191d;--soft:#59616b;--line:#d9dde3;--grid:#e4e7ec;--a:#1f6feb;--b:#c4570a;--c:#22863a;--bad:#b31d46}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--panel:#1c2026;--ink:#e8eaed;--soft:#a2aab5;--line:#343a43;--grid:#2a3038;--a:#6aa9ff;--b:#f29a54;--c:#5cc975;--bad:#ff7d9c}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{max-width:1200px;margin:0 auto;padding:24px 24px 56px}
h1{font-size:22px;line-height:1.25;margin:0;overflow-wrap:anywhere}
h2{font-size:14px;font-weight:600;margin:0}
header{display:flex;flex-wrap:wrap;gap:4px 16px;align-items:baseline;justify-content:space-between}
.soft{color:var(--soft)}
#state{font-size:13px}
#state.bad{color:var(--bad)}
progress{width:100%;height:8px;margin:12px 0 0;display:block;appearance:none;border:0;border-radius:4px;overflow:hidden;background:var(--grid)}
progress::-webkit-progress-bar{background:var(--grid)}
progress::-webkit-progress-value{background:var(--a)}
progress::-moz-progress-bar{background:var(--a)}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(132px,1fr));gap:10px 20px;margin:16px 0 20px}
dl div{border-top:1px solid var(--line);padding-top:6px}
dt{color:var(--soft);font-size:12.5px}
dd{margin:0;font-size:18px;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(12,minmax(0,1fr));gap:16px}
.charts figure{grid-column:span 4}
.charts figure.wide{grid-column:span 12}
.charts.two figure{grid-column:span 6}.charts.two figure.wide{grid-column:span 12}
figure{margin:0;padding:12px 14px 8px;background:var(--panel);border:1px solid var(--line);border-radius:8px;min-width:0}
figcaption{display:flex;flex-wrap:wrap;gap:4px 14px;align-items:center;justify-content:space-between;margin-bottom:6px}
.keys{display:inline-flex;flex-wrap:wrap;gap:2px 14px}
.key{display:inline-flex;align-items:center;gap:6px;font-size:12.5px;color:var(--soft)}
.key i{width:12px;height:3px;border-radius:2px;display:inline-block}
.tools{display:flex;flex-wrap:wrap;gap:4px 14px;align-items:center;font-size:12.5px;color:var(--soft)}
.tools label{display:inline-flex;gap:6px;align-items:center}
input[type=range]{width:110px;accent-color:var(--a)}input[type=checkbox]{accent-color:var(--a)}
svg{display:block;width:100%}
svg text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;fill:var(--soft);font-variant-numeric:tabular-nums}
svg .grid{stroke:var(--grid);stroke-width:1}
svg path{fill:none;stroke-width:1.6;stroke-linejoin:round}
svg path.faint{stroke-width:1;opacity:.35}
svg .cross{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 3}
.tip{min-height:1.5em;font-size:12.5px;color:var(--soft);font-variant-numeric:tabular-nums}
#pictures{margin-top:28px}
.row{margin:14px 0 0}
.row p{margin:0 0 6px;font-size:13px;overflow-wrap:anywhere}
.strip{display:flex;gap:10px;overflow-x:auto;padding-bottom:8px}
.strip div{flex:0 0 auto;font-size:12px;color:var(--soft)}
.strip img{display:block;width:160px;height:160px;object-fit:contain;background:var(--panel);border:1px solid var(--line);border-radius:6px;image-rendering:auto}
.strip img.small{image-rendering:pixelated}
@media (max-width:860px){.charts figure,.charts.two figure{grid-column:span 12}}
@media (max-width:480px){main{padding:16px 14px 40px}.strip img{width:128px;height:128px}dd{font-size:16px}figure{padding:10px 10px 6px}}
`;
