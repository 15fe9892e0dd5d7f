/**
 * File name -> text of every page under docs/codes, in the order of the codes.
 * @param {Record<string, { title: string, meaning: string, whatToDo: string, example: string }>} explanations
 * @returns {Map<string, string>}
 */
export function codePages(explanations) {
	const pages = new Map();
	const codes = Object.keys(explanations);
	for (const code of codes) {
		const { title, meaning, whatToDo, example } = explanations[code];
		const kind = code.startsWith('E_') ? 'Refuses (exit code 1).' : 'Warns; the work goes on (exit code 0, or 1 with --strict).';
		pages.set(
			`${code}.md`,
			`# ${code}: ${title}\n\n${kind}\n\n## What it means\n\n${meaning}\n\n## What to do\n\n${whatToDo}\n\n## Example\n\n\`\`\`\n${example}\n\`\`\`\n\nAll codes: [README.md](README.md). On the command line: \`lora explain ${code}\`.\n`,
		);
	}
	const list = (prefix) =>
		codes
			.filter((code) => code.startsWith(prefix))
			.map((code) => `| [${code}](${code}.md) | ${explanations[code].title} |`)
			.join('\n');
	pages.set(
		'README.md',
		`# Codes\n\nEvery refusal and warning has one stable code, printed on stderr with its sentence. Made by \`node scripts/docs/codes.mjs\` from \`packages/format/src/explanations-*.ts\`; do not edit by hand.\n\n## Refusals\n\n| code | meaning |\n| --- | --- |\n${list('E_')}\n\n## Warnings\n\n| code | meaning |\n| --- | --- |\n${list('W_')}\n`,
	);
	return pages;
}
