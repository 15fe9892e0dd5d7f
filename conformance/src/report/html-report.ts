import { AMPLIFIED } from '../judge/compare-pictures.js';
import type { CaseMeasure } from '../judge/measure.js';
import type { ImageMeasure } from '../judge/verdict.js';
import type { CaseResult } from '../run/result.js';
import { escapeMarkup as e } from './escape.js';
import { closingLine } from './make-report.js';
import { extra } from './markdown-report.js';
import { PAGE_STYLE } from './page-style.js';
import type { LevelSummary, Report } from './report.js';

/** One page, nothing loaded from anywhere, light and dark. */
export function htmlReport(report: Report): string {
	const { subject } = report;
	const title = `LoRA conformance: ${subject.name} ${subject.version}`;
	const wrong = report.results.filter((r) => r.status !== 'passed' && r.status !== 'skipped');
	const right = report.results.filter((r) => r.status === 'passed' || r.status === 'skipped');
	return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${e(title)}</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<main>
<header>
<h1>${e(subject.name)} <small>${e(subject.version)}</small></h1>
<p class="verdict ${report.ok ? 'good' : 'bad'}">${e(closingLine(report.counts) + extra(report))}</p>
<p class="facts">Suite ${e(report.suite)} · ${subject.precision}${report.profile === null ? '' : ` · profile ${report.profile}`} · isolation by ${report.isolation}${subject.language === null ? '' : ` · ${e(subject.language)}`}${subject.device === null ? '' : ` · ${e(subject.device)}`}${link(subject.homepage)}</p>
</header>
${strays(report)}${diagnoses(report)}
<section>
<h2>Levels</h2>
<div class="scroll"><table>
<thead><tr><th>level</th><th class="n">passed</th><th class="n">failed</th><th class="n">known</th><th class="n">inconclusive</th><th class="n">skipped</th><th class="n">largest error<br>(share of allowance)</th><th>grade</th></tr></thead>
<tbody>
${report.levels.map(levelRow).join('\n')}
</tbody>
</table></div>
${derivations(report.levels)}
</section>
${wrong.length === 0 ? '' : `<section>\n<h2>Not right</h2>\n${wrong.map(failure).join('\n')}\n</section>`}
<section>
<h2>Passed and skipped</h2>
<details${wrong.length === 0 ? ' open' : ''}><summary>${right.length} cases</summary>
<div class="scroll"><table>
<thead><tr><th>case</th><th>status</th><th class="n">gain</th><th class="n">cosine</th><th class="n">share of allowance</th><th>grade</th></tr></thead>
<tbody>
${right.map(row).join('\n')}
</tbody>
</table></div>
</details>
</section>
</main>
</body>
</html>
`;
}

function link(url: string | null): string {
	return url === null || !/^https?:\/\//.test(url) ? '' : ` · <a href="${e(url)}">${e(url.replace(/^https?:\/\//, ''))}</a>`;
}

/** What fails the run and belongs to no case. */
function strays({ stalePatterns, outside }: Report): string {
	const items = [
		...stalePatterns.map((pattern) => `known-failing pattern fits no case: <code>${e(pattern)}</code>`),
		...outside.map((file) => `written outside the case folders: <code>${e(file)}</code>`),
	];
	if (items.length === 0) return '';
	return `<section class="diagnosis">\n<h2>The run itself</h2>\n<ul>\n${items.map((item) => `<li>${item}</li>`).join('\n')}\n</ul>\n</section>\n`;
}

function diagnoses({ diagnoses: list }: Report): string {
	if (list.length === 0) return '';
	const items = list.map((d) => {
		const or = d.runnersUp.length === 0 ? '' : ` <span class="or">or ${d.runnersUp.join(', ')}</span>`;
		return `<li><code>${d.code}</code>${or} <span class="count">${d.cases} ${d.cases === 1 ? 'case' : 'cases'}</span><br>${e(d.sentence)}${d.detail === null ? '' : ` <em>${e(d.detail)}</em>`}</li>`;
	});
	return `<section class="diagnosis">\n<h2>What is wrong</h2>\n<ul>\n${items.join('\n')}\n</ul>\n</section>`;
}

function levelRow({ level, counts, largestShare, grade }: LevelSummary): string {
	const share = largestShare === null ? '' : largestShare.toPrecision(2);
	const cells = [counts.passed, counts.failed + counts.unexpected, counts.known, counts.inconclusive, counts.skipped];
	return `<tr><th>${level}</th>${cells.map((n) => `<td class="n">${n}</td>`).join('')}<td class="n">${share}</td><td>${grade ?? ''}</td></tr>`;
}

function derivations(levels: readonly LevelSummary[]): string {
	const items = levels.flatMap(({ level, derivations: list }) => list.map((text) => `<li><b>${level}</b> ${e(text)}</li>`));
	return items.length === 0 ? '' : `<details><summary>Where the tolerances come from</summary><ul>${items.join('\n')}</ul></details>`;
}

function failure(r: CaseResult): string {
	const rows: string[] = [];
	const put = (name: string, html: string): void => {
		rows.push(`<dt>${name}</dt><dd>${html}</dd>`);
	};
	if (r.diagnosis !== null) {
		const or = r.diagnosis.runnersUp.length === 0 ? '' : ` <span class="or">or ${r.diagnosis.runnersUp.join(', ')}</span>`;
		put(
			'diagnosis',
			`<code>${r.diagnosis.code}</code>${or}: ${e(r.diagnosis.sentence)}${r.diagnosis.detail === undefined ? '' : ` <em>${e(r.diagnosis.detail)}</em>`} <span class="or">(evidence: ${r.diagnosis.evidenceLevel})</span>`,
		);
	}
	if (r.measure !== null) put('measured', measured(r.measure));
	if (r.image !== null) {
		put('latents', latents(r.image));
		put('picture', picture(r.image));
	}
	if (r.wrong.length > 0) put('modules', r.wrong.map((name) => `<code>${e(name)}</code>`).join('<br>'));
	put(
		'source',
		r.source.map(({ url, says }) => `<a href="${e(url)}">${e(url.replace(/^https?:\/\/(www\.)?/, ''))}</a>: ${e(says)}`).join('<br>'),
	);
	if (r.url !== null) put('issue', `<a href="${e(r.url)}">${e(r.url)}</a>`);
	if (r.stderr !== null) put('stderr', `<pre>${e(r.stderr)}</pre>`);
	return `<details class="case ${r.status}"><summary><span class="tag">${r.status}</span> <code>${e(r.id)}</code> ${e(r.message)}</summary>\n<p>${e(r.title)}</p>\n<dl>${rows.join('\n')}</dl>${pictures(r)}\n</details>`;
}

/** Reference, candidate and amplified difference side by side. */
function pictures({ image }: CaseResult): string {
	const p = image?.pictures;
	if (p === null || p === undefined) return '';
	const figure = (name: string, png: string): string =>
		`<figure><img alt="${name}" src="data:image/png;base64,${png}"><figcaption>${name}</figcaption></figure>`;
	return `<div class="pictures">${figure('reference', p.reference)}${figure('candidate', p.candidate)}${figure(`difference × ${AMPLIFIED}`, p.difference)}</div>`;
}

function measured({ gain, cosine, share }: CaseMeasure): string {
	const parts = gain === null && cosine === null ? [] : [`gain ${shown(gain)}`, `cosine ${shown(cosine)}`];
	return [...parts, `error ${shown(share)} times its allowance`].join(', ');
}

function latents({ firstStep, steps }: ImageMeasure): string {
	if (firstStep === null) return `right after each of the ${steps.length} steps`;
	const list = steps.map(shown).join(', ');
	return `wrong from step ${firstStep + 1} of ${steps.length} on; largest difference after each step, relative to the largest latent: <span class="or">${list}</span>`;
}

function picture({ meanGrey, maxGrey, psnr, ssim }: ImageMeasure): string {
	if (maxGrey === null) return 'not written, or no PNG of the right size';
	if (maxGrey === 0) return 'the same in every pixel';
	return `grey levels off by ${shown(meanGrey)} in the mean, ${shown(maxGrey)} at most; PSNR ${shown(psnr)} dB, SSIM ${shown(ssim)}`;
}

function shown(x: number | null): string {
	return x === null ? '-' : String(x);
}

function row(r: CaseResult): string {
	const m = r.measure;
	return `<tr><td><code>${e(r.id)}</code></td><td>${r.status}${r.message === '' ? '' : `: ${e(r.message)}`}</td><td class="n">${m === null ? '' : shown(m.gain)}</td><td class="n">${m === null ? '' : shown(m.cosine)}</td><td class="n">${m === null ? '' : shown(m.share)}</td><td>${m?.grade ?? ''}</td></tr>`;
}
