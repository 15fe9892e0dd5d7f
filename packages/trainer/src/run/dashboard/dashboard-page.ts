import { CHART_SCRIPT } from './dashboard-chart-script.js';
import { DASHBOARD_SCRIPT } from './dashboard-script.js';
import { DASHBOARD_STYLE } from './dashboard-style.js';

/** What the page may do: its own script (by nonce) and style, events and pictures from where it came from. Nothing else, nowhere else. */
export function dashboardPolicy(nonce: string): string {
	return `default-src 'none'; script-src 'nonce-${nonce}'; style-src 'unsafe-inline'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
}

/**
 * The live page of a run, complete: it asks for `/events` (server-sent events `history` and `line`, lines of `metrics.jsonl`) and
 * `/picture/PATH`. Text of the run reaches the page as text alone.
 * @param name of the run, for the heading
 */
export function dashboardPage(name: string, nonce: string): string {
	return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>${html(name)}: training</title>
<style>${DASHBOARD_STYLE}</style>
</head>
<body>
<main>
<header><h1>${html(name)}</h1><span id="state" class="soft" role="status">connecting</span></header>
<progress id="bar" max="1" value="0" aria-label="steps done"></progress>
<dl id="facts"></dl>
<div class="charts" id="charts">
${figure('loss', 'Loss', true, '<span class="tools"><label>smoothing <input type="range" id="keep" min="0" max="995" value="950"></label><label><input type="checkbox" id="log"> log scale</label></span>')}
${figure('validation', 'Validation loss')}
${figure('rates', 'Learning rate')}
${figure('norm', 'Gradient norm')}
</div>
<section id="pictures" hidden><h2>Validation pictures, newest first</h2><div id="rows"></div></section>
</main>
<script nonce="${nonce}">${CHART_SCRIPT}${DASHBOARD_SCRIPT}</script>
</body>
</html>
`;
}

function figure(id: string, title: string, wide = false, tools = ''): string {
	return `<figure id="${id}"${wide ? ' class="wide"' : ''}><figcaption><h2>${title}</h2>${tools}<span class="keys"></span></figcaption><svg role="img" aria-label="${title} by step" height="190"></svg><div class="tip"></div></figure>`;
}

function html(text: string): string {
	return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
