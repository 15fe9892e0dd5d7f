/** Which loader's words begin a result's name -> what the table calls it, in the order of the page. */
const HEADS = ['torch.load', 'safetensors', 'PEFT', 'diffusers', "A1111's", 'sd-scripts', 'cloneofsimo'];

/**
 * docs/interop.md from one run.
 *
 * @param {{ results: readonly object[], versions: Map<string, string>, totals: { passed: number, failed: number, skipped: number },
 *   skips: readonly string[], refused: readonly object[], jobs: readonly object[] }} run
 */
export function interopPage({ results, versions, totals, skips, refused, jobs }) {
	return `# Files we write, in the loaders that people use

Made by \`npm run interop -- --write-docs\`; do not edit. Every case of the reference set (files by the real savers) was
converted to every layout and container that can hold it, then opened by the real loader on the tiny base. The delta of each module
(fused minus base, in float64, from the loader's own objects) was compared with the recorded one: six samples and the largest value of each
module, and the whole delta where the set stores it. A module that was not loaded, or loaded although the file does not have it, is a failure.

**${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped.** ${jobs.length} conversions were written; ${refused.length} were refused with the loss
named (another component, a family or header entries that the target cannot hold), which is not judged here.

Versions: ${[...versions].map(([name, version]) => `${name} ${version}`).join(', ')}.
${skips.length === 0 ? '' : `\nSkipped in this run:\n${skips.map((s) => `- ${s}`).join('\n')}\n`}
${table(results)}

Tolerance: 1e-6 x max(1, largest value of the delta); where the scaling had to be folded into 16-bit factors (\`--alpha fold\`), the
larger one that the reference set states. A difference of 0 says that the loader gives the recorded delta to the last bit of float64 or of its float32 record.

## How each layout was opened

- **torch, safetensors**: every file, every tensor by name, dtype, shape and SHA-256 of its bytes; \`weights_only=True\`; header entries;
  \`sshs_*\` against what the real safetensors writer and sd-scripts' rule give. "Modules" are tensors here.
- **PEFT**: \`PeftModel.from_pretrained\` on our folder, then \`set_peft_model_state_dict\` with our \`adapter_config.json\`: no unexpected and no missing key.
- **diffusers**: \`load_lora_weights\` on the file, \`unet.load_lora_adapter(prefix="unet")\`; DoRA through the layer's own merge. Attention processors
  have no component in their names; today's diffusers loads none of them as they are, so \`unet.\` is put before each name.
- **kohya**: \`create_network_from_weights(for_inference=True)\`, \`apply_to\`, \`load_state_dict\`: no unexpected and no missing key; \`networks/lora.py\` reads LoRA and LoCon only.
- **cloneofsimo**: \`monkeypatch_or_replace_lora\` (\`_extended\` for 3x3 convolutions) takes the whole list, \`monkeypatch_or_replace_safeloras\` the whole file.
  Files in the order of diffusers <= 0.14 are opened on blocks whose children are put into that order.
- **Embeddings**: \`.ti.pt\` by \`torch.load\`, tokens in safetensors by \`parse_safeloras_embeds\`, what lies beside a file by diffusers'
  \`load_textual_inversion_state_dicts\` and by A1111's rule.
- Of the containers that one loader reads alike (\`torch.load\` or safetensors, then the same code), one adapter of each source layout goes through the
  whole loader from the second container; the bytes of all are compared.
${notes(results)}`;
}

function table(results) {
	const rows = new Map();
	for (const r of results) {
		if (r.status === 'note') continue;
		const layout = `${r.job?.to ?? ''}`;
		const container = r.job?.container === 'torch-zip' ? 'torch' : 'safetensors';
		const key = `${r.loader}\0${layout}\0${r.loader.startsWith('torch.load') || r.loader.startsWith('safetensors') ? '' : container}`;
		const row = rows.get(key) ?? { passed: 0, failed: 0, loaded: 0, expected: 0, diff: 0, unit: r.unit ?? 'modules' };
		row[r.status === 'pass' ? 'passed' : 'failed']++;
		row.loaded += r.loaded ?? 0;
		row.expected += r.expected ?? 0;
		row.diff = Math.max(row.diff, r.diff ?? 0);
		rows.set(key, row);
	}
	const rank = (key) => HEADS.findIndex((h) => key.startsWith(h));
	const sorted = [...rows].sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : 1));
	const lines = sorted.map(([key, row]) => {
		const [loader, layout, container] = key.split('\0');
		const cells = [loader, layout, container, `${row.passed}${row.failed > 0 ? ` (**${row.failed} failed**)` : ''}`];
		return `| ${cells.join(' | ')} | ${row.loaded} of ${row.expected} ${row.unit} | ${row.diff === 0 ? '0' : row.diff.toExponential(1)} |`;
	});
	return ['| loader | layout | container | adapters | loaded | largest difference |', '|---|---|---|---|---|---|', ...lines].join('\n');
}

/** What loaders said of files that are as they should be. */
function notes(results) {
	const seen = new Map();
	for (const r of results) {
		if (r.status !== 'note') continue;
		const text = `${r.loader}: ${r.why}`;
		seen.set(text, [...(seen.get(text) ?? []), r.id]);
	}
	if (seen.size === 0) return '';
	const lines = [...seen].map(([text, ids]) => `- ${text} (${ids.length} files, first \`${ids[0]}\`).`);
	return `\n## What a loader cannot do today, whoever wrote the file\n\n${lines.join('\n')}\n`;
}
