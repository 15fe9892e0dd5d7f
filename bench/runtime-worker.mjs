/**
 * Our side of `bench/runtime-torch.mjs`: one UNet on the ONNX engine, one answer line for each command line.
 * node bench/runtime-worker.mjs UNET.safetensors LORA.safetensors
 */
import { baseModel, decodeAdapter, loadInput, planTerms } from '../packages/format/dist/index.js';
import { openFileSource } from '../packages/format/dist/io/index.js';
import { createOnnxEngine } from '../packages/runtime/dist/engines/onnx/index.js';
import {
	adapterFeeds,
	createComponent,
	f32Tensor,
	NO_ADAPTERS,
	plainEverywhere,
	timestepFeatures,
	unetGraph,
} from '../packages/runtime/dist/index.js';
import { answerLines, normals, openUnet } from './worker-parts.mjs';

const [unetFile, loraFile] = process.argv.slice(2);
const { config, state, weights } = await openUnet(unetFile);
const model = baseModel([{ path: 'unet/model.safetensors', component: 'unet', state }], 'folder', 'base', { configs: new Map() });
const engine = await createOnnxEngine();
const component = createComponent('unet', engine, weights);
let feeds;
let shape;
let key = '';
let record;

const COMMANDS = {
	async load(pixels, batch, plain) {
		await component.release();
		const side = pixels / 8;
		shape = { batch, height: side, width: side, tokens: 77 };
		key = `${pixels} ${batch} ${plain}`;
		record = (forms) => unetGraph(config, shape, { forms: plain ? plainEverywhere : forms });
		feeds = {
			sample: f32Tensor([batch, 4, side, side], normals(batch * 4 * side * side, 1)),
			time_features: f32Tensor([batch, 320], timestepFeatures(new Float64Array(batch).fill(501), 320, config)),
			encoder_hidden_states: f32Tensor([batch, 77, 768], normals(batch * 77 * 768, 2)),
		};
		await component.prepare(key, record);
	},
	async step() {
		const { sample } = await component.run(key, record, feeds);
		return { sum: sample.data.reduce((a, b) => a + Math.abs(b), 0) };
	},
	async attach(count, scale = 1) {
		if (count === 0) return void component.adapt(NO_ADAPTERS);
		const input = await loadInput({ main: await openFileSource(loraFile) });
		const { adapter } = decodeAdapter(input);
		const uses = Array.from({ length: count }, (_, i) => ({
			adapter,
			name: `${i}`,
			strength: { scale, components: new Map(), blocks: undefined },
		}));
		component.adapt(await adapterFeeds(await planTerms(model, uses), new Set(['unet'])));
	},
};

await answerLines(COMMANDS);
