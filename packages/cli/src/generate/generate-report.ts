import type { RepeatReport } from './compare-record.js';
import type { GenerateResult } from './run-generate.js';

/** `lora.generate/1`, schema/generate.schema.json. */
export function generateDocument(result: GenerateResult, repeat: RepeatReport | undefined): unknown {
	const { files, architecture, grid, truncated, notes, warnings } = result;
	const record = files[0]?.record;
	return {
		schema: 'lora.generate/1',
		dryRun: files.every(({ made }) => made === undefined),
		architecture,
		engine: record?.engine ?? null,
		base: record?.base ?? null,
		outputs: files.map(({ path, record: own, made }) => ({
			path: path ?? null,
			bytes: made?.bytes ?? null,
			seconds: made === undefined ? null : Number(made.seconds.toFixed(3)),
			adapters: own.adapters,
			embeddings: own.embeddings,
			init: own.init,
			settings: own.settings,
			edit: own.edit,
			attention: own.attention,
			view: own.view,
		})),
		grid: grid === undefined ? null : { axes: record?.grid ?? '', rows: grid.rows, columns: grid.columns },
		repeat: repeat ?? null,
		truncated,
		notes,
		warnings,
	};
}

/** What people read. */
export function generateText(result: GenerateResult, repeat: RepeatReport | undefined): string {
	const lines: string[] = [];
	for (const { path, record, made } of result.files) {
		const { settings, adapters, engine } = record;
		const grid =
			result.grid === undefined ? undefined : `${result.grid.rows.length} x ${result.grid.columns.length} pictures, ${record.grid}`;
		const what = grid ?? `${shown(record)}seed ${settings.seed}`;
		const time = made === undefined ? 'not made (--dry-run)' : `${made.seconds.toFixed(1)} s`;
		lines.push(
			`${path ?? '(compared only)'}  ${what}, ${settings.width}x${settings.height}, ${settings.steps} steps of ${settings.scheduler}, guidance ${settings.guidance}, ${engine.id} ${engine.device}, ${time}`,
		);
		for (const { path: file, scale, components } of adapters) {
			const parts = Object.entries(components).map(([name, value]) => `${name}=${value}`);
			lines.push(`  ${file} at ${scale}${parts.length === 0 ? '' : ` (${parts.join(', ')})`}${settings.fused ? ', fused' : ''}`);
		}
	}
	if (repeat !== undefined) lines.push(...repeatLines(repeat));
	return `${lines.join('\n')}\n`;
}

/** What of a run the file shows, where it is not all. */
function shown({ view, edit }: GenerateResult['files'][number]['record']): string {
	if (view.shows === 'attention') return 'attention, ';
	if (edit === null) return '';
	if (view.shows === 'edits') return `source and ${edit.edits.length} edit(s), `;
	return view.picture === 0 ? 'source, ' : `edit ${view.picture} (${edit.edits[view.picture - 1]?.kind}), `;
}

function repeatLines({ file, equal, pixels, differences }: RepeatReport): readonly string[] {
	const how = equal
		? `the same picture as ${file}, every pixel`
		: pixels === null
			? `another size than ${file}`
			: `not the picture of ${file}: ${pixels.differing} of ${pixels.of} pixels differ, by at most ${pixels.largest} of 255`;
	return [how, ...(differences.length === 0 ? [] : ['what is not as it was:', ...differences.map((line) => `  ${line}`)])];
}
