import fs from 'node:fs';
import path from 'node:path';
import { bytesSource } from '@lorakit/format';
import { test } from 'vitest';
import { createOnnxWebEngine } from '../../src/engines/onnx/web.js';
import { createOnnxEngine } from '../../src/engines/onnx/index.js';
import { createClipTokenizer, createStableDiffusion, createTorchGenerator, generate, openBaseFiles } from '../../src/index.js';
import { decode } from 'fast-png';

test('run', async () => {
	const root = '/work/main/fixtures/runtime/tiny-shapes';
	const files = new Map(fs.readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((p) => fs.statSync(path.join(root, p)).isFile()).map((p) => [p, bytesSource(fs.readFileSync(path.join(root, p)), p)]));
	for (const engine of [await createOnnxEngine(), await createOnnxWebEngine({ threads: 1 })]) {
		const base = await openBaseFiles(files);
		const [t] = base.tokenizers;
		const model = createStableDiffusion(base, engine, { tokenizers: [createClipTokenizer({ vocab: t?.vocab ?? '', merges: t?.merges ?? '', config: t?.tokenizerConfig, specialTokens: t?.specialTokensMap, addedTokens: t?.addedTokens })] });
		const prompt = await model.encodePrompt('a large blue circle', undefined, { width: 64, height: 64 });
		const run = generate(model, { prompt, scheduler: 'dpmsolver++', steps: 20, guidance: 5, width: 64, height: 64, generators: [createTorchGenerator(42)] });
		try {
			for (;;) {
				const next = await run.next();
				if (next.done === true) {
					const b = decode(fs.readFileSync('/work/shared/reference/inference-shapes/png/base-dpm20-0.png'));
					let max = 0;
					for (let i = 0; i < b.data.length; i++) max = Math.max(max, Math.abs((b.data[i] ?? 0) - (next.value.pictures[0]?.[i] ?? 0)));
					console.log(engine.id, 'max', max);
					break;
				}
				const px = await model.decode({ dtype: 'f32', shape: [1, 4, 8, 8], data: next.value.latents }); if (px.data.some((x) => !Number.isFinite(x))) console.log('preview bad', next.value.call);
			}
		} catch (e) { console.log(engine.id, String(e)); }
		await model.close();
	}
});
