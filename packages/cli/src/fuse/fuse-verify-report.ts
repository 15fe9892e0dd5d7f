import { cosineOf, gainOf, totalProducts, type VerifyModule, type VerifyReport } from '@lorakit/format';

/** A number that JSON can say. */
const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);

/** A report as data. Schema: schema/verify.schema.json. */
export function verifyDocument(report: VerifyReport, base: string, adapters: readonly string[], fused: string): object {
	return {
		schema: 'lora.verify/1',
		base,
		adapters,
		fused,
		ok: report.ok,
		cause: report.cause,
		why: report.why ?? null,
		gain: finite(report.gain),
		cosine: finite(report.cosine),
		error: finite(report.error),
		steps: finite(report.steps),
		modules: report.modules.map((m) => ({
			tensor: m.tensor,
			modules: m.modules,
			elements: m.elements,
			gain: finite(m.gain),
			cosine: finite(m.cosine),
			expected: finite(m.expected),
			actual: finite(m.actual),
			error: finite(m.error),
			steps: finite(m.steps),
			off: m.off,
			cause: m.cause,
			why: m.why ?? null,
		})),
		changed: report.changed,
		missing: report.missing,
		extra: report.extra,
	};
}

/** A report for people: a summary, then a line for each block, or for each tensor. */
export function verifyText(report: VerifyReport, all: boolean): string {
	const wrong = report.modules.filter((m) => m.cause !== 'right').length;
	const summary = report.ok
		? `right: all ${report.modules.length} tensors are base + adapters within one rounding step (largest error ${number(report.steps)} steps), and nothing else changed`
		: `not right: ${wrong} of ${report.modules.length} tensors are off${report.why === undefined ? '' : `; ${report.why}`}`;
	const lines = [summary, `  gain ${number(report.gain)}, cosine ${number(report.cosine)} over all`];
	const rows = all ? report.modules.map((m) => rowOf(m.tensor, [m])) : blocks(report.modules);
	const width = Math.max(5, ...rows.map(([name]) => name.length));
	lines.push(`  ${(all ? 'tensor' : 'block').padEnd(width)}  tensors      gain    cosine     steps  cause`);
	for (const [name, count, gain, cosine, steps, cause] of rows)
		lines.push(`  ${name.padEnd(width)}  ${count.padStart(7)}  ${gain.padStart(8)}  ${cosine.padStart(8)}  ${steps.padStart(8)}  ${cause}`);
	for (const [what, names] of [
		['changed although no adapter touches it', report.changed],
		['missing', report.missing],
		['extra', report.extra],
	] as const) {
		for (const name of names.slice(0, 10)) lines.push(`  ${what}: ${name}`);
		if (names.length > 10) lines.push(`  ${what}: and ${names.length - 10} more`);
	}
	return `${lines.join('\n')}\n`;
}

type Row = readonly [name: string, count: string, gain: string, cosine: string, steps: string, cause: string];

function blocks(modules: readonly VerifyModule[]): readonly Row[] {
	const groups = new Map<string, VerifyModule[]>();
	for (const module of modules) {
		const name = blockOf(module.modules[0] ?? module.tensor);
		const own = groups.get(name);
		if (own === undefined) groups.set(name, [module]);
		else own.push(module);
	}
	// Layer 10 behind layer 9.
	const order = new Intl.Collator('en', { numeric: true });
	const component = (name: string): number => [...groups.keys()].findIndex((other) => other.split(' ')[0] === name.split(' ')[0]);
	return [...groups].sort(([a], [b]) => component(a) - component(b) || order.compare(a, b)).map(([name, own]) => rowOf(name, own));
}

/** `unet down_blocks.0`, `text_encoder text_model.encoder.layers.3`: the component and the path as far as its first number. */
function blockOf(module: string): string {
	return /^.*?\.\d+(?=\.|$)/.exec(module)?.[0] ?? module.replace(/\.[^.]*$/, '');
}

function rowOf(name: string, own: readonly VerifyModule[]): Row {
	// As verify-fused sums: each tensor weighs as much as its delta.
	const total = totalProducts(
		own.map(({ expected, actual, gain }) => ({ ee: expected ** 2, aa: actual ** 2, ae: Number.isFinite(gain) ? gain * expected ** 2 : 0 })),
	);
	let steps = 0;
	const causes = new Map<string, number>();
	for (const m of own) {
		steps = Math.max(steps, m.steps);
		causes.set(m.cause, (causes.get(m.cause) ?? 0) + 1);
	}
	const worst = [...causes].filter(([cause]) => cause !== 'right').sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'right';
	return [name, String(own.length), number(gainOf(total)), number(cosineOf(total)), number(steps), worst];
}

function number(value: number): string {
	if (!Number.isFinite(value)) return '-';
	return Math.abs(value) >= 1e5 ? value.toExponential(2) : value.toFixed(4);
}
