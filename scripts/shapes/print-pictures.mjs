/** The table of same-picture.mjs. Grey levels in brackets were not judged. */
export function printPictures(table) {
	const head = ['run', 'read back', 'PEFT holds', '0 = base', 'change', 'at 0', 'at 0.5', 'at 1', 'kwargs 0.5', 'train s'];
	const cells = table.map(({ name, read, loaded, zero, change, seconds, levels }) => {
		const level = (scale, kwargs = false) => {
			const found = levels.find((l) => (l.how === 'cross_attention_kwargs') === kwargs && l.scale === scale);
			return found?.judged === false ? `(${found.most})` : found?.most;
		};
		return [
			...[name, read, loaded, zero === undefined ? undefined : zero === 0 ? 'yes' : `no, ${zero}`, change],
			...[level(0), level(0.5), level(1), level(0.5, true), seconds?.toFixed(1)],
		].map((cell) => String(cell ?? '-'));
	});
	const widths = head.map((text, i) => Math.max(text.length, ...cells.map((row) => row[i].length)));
	for (const row of [head, ...cells])
		console.log(row.map((text, i) => (i === 0 ? text.padEnd(widths[i]) : text.padStart(widths[i]))).join('  '));
	console.log(
		'change, at 0, 0.5, 1: grey levels (largest): scale 1 against scale 0 (the token against what it began as), and ours against diffusers; (n): not judged, DoRA means another thing there',
	);
	for (const { name, notes } of table) for (const note of notes) console.log(`note: ${name}: ${note}`);
}
