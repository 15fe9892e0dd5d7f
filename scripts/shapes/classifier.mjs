/**
 * The judge of pictures of coloured shapes: a small convolutional network and a nearest-colour rule, both as
 * fixtures/training/classifier/classifier.json describes them. Float32 as it was trained, nothing but JavaScript.
 *
 * `node scripts/shapes/classifier.mjs` checks it against the twelve drawings whose logits torch recorded.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { decode } from 'fast-png';

const FOLDER = path.join(import.meta.dirname, '../../fixtures/training/classifier');
/** Pictures are SIDE x SIDE, RGB. */
export const SIDE = 64;
/** Euclidean distance of a pixel to the background, 0..255, from which on it is part of a shape. */
const FAR = 60;
/** Fewer such pixels are no shape. */
const FEWEST = 12;
/** torch's float32 sums take another order, and five decimals were recorded; logits reach 120. */
const LOGITS_BAR = 1e-3;

/** @typedef {Readonly<Record<'shape' | 'style' | 'colour' | 'background' | 'size' | 'position', string>>} Reading */

/** @param {string} folder where classifier.json and classifier.safetensors are */
export function openClassifier(folder = FOLDER) {
	const facts = JSON.parse(readFileSync(path.join(folder, 'classifier.json'), 'utf8'));
	const weights = readFloats(readFileSync(path.join(folder, 'classifier.safetensors')));
	const need = (name) => {
		const found = weights.get(name);
		if (found === undefined) throw new Error(`classifier.safetensors has no ${name}`);
		return found;
	};

	/** Logits of all heads, one after the other. @param {Uint8Array} rgb (64, 64, 3) */
	function logits(rgb) {
		if (rgb.length !== SIDE * SIDE * 3) throw new Error(`A picture of ${rgb.length} bytes; expected ${SIDE} x ${SIDE} x 3.`);
		let data = new Float32Array(rgb.length);
		for (let c = 0; c < 3; c++) for (let i = 0; i < SIDE * SIDE; i++) data[c * SIDE * SIDE + i] = rgb[3 * i + c] / 127.5 - 1;
		let shape = [3, SIDE, SIDE];
		for (const layer of facts.layers) {
			if (layer.op === 'flatten') continue;
			const [weight, bias] = [need(layer.weight), need(layer.bias)];
			if (layer.op === 'conv2d') [data, shape] = convolve(data, shape, weight, bias, layer);
			else if (layer.op === 'linear') data = multiply(data, weight, bias);
			else throw new Error(`no rule here computes ${layer.op}`);
			if (layer.then === 'relu') for (let i = 0; i < data.length; i++) if (data[i] < 0) data[i] = 0;
		}
		return data;
	}

	/**
	 * What the network sees: the likeliest label of each head, and the probability of every label.
	 * @param {Uint8Array} rgb
	 * @returns {{ read: Reading, probabilities: Readonly<Record<string, Readonly<Record<string, number>>>> }}
	 */
	function look(rgb) {
		const all = logits(rgb);
		const read = {};
		const probabilities = {};
		let from = 0;
		for (const { name, labels } of facts.heads) {
			const own = [...all.subarray(from, from + labels.length)];
			from += labels.length;
			const most = Math.max(...own);
			read[name] = labels[own.indexOf(most)];
			const exps = own.map((x) => Math.exp(x - most));
			const total = exps.reduce((a, b) => a + b, 0);
			probabilities[name] = Object.fromEntries(labels.map((label, i) => [label, exps[i] / total]));
		}
		return { read, probabilities };
	}

	/** The colour rule. `colour` is undefined where there is no shape. @param {Uint8Array} rgb */
	function colours(rgb) {
		const border = [];
		for (let y = 0; y < SIDE; y++) {
			for (let x = 0; x < SIDE; x++) if (y === 0 || x === 0 || y === SIDE - 1 || x === SIDE - 1) border.push(y * SIDE + x);
		}
		const ground = medians(rgb, border);
		const shape = [];
		for (let i = 0; i < SIDE * SIDE; i++) {
			if (Math.hypot(rgb[3 * i] - ground[0], rgb[3 * i + 1] - ground[1], rgb[3 * i + 2] - ground[2]) > FAR) shape.push(i);
		}
		return {
			background: nearest(ground, facts.backgrounds),
			colour: shape.length < FEWEST ? undefined : nearest(medians(rgb, shape), facts.palette),
		};
	}

	return { facts, folder, logits, look, colours };
}

/** (c, h, w) with a square kernel, as torch's conv2d. */
function convolve(data, [channels, height, width], weight, bias, { kernel, stride, padding, out }) {
	const [outputs, rows, columns] = out;
	const result = new Float32Array(outputs * rows * columns);
	for (let o = 0; o < outputs; o++) {
		for (let y = 0; y < rows; y++) {
			for (let x = 0; x < columns; x++) {
				let sum = bias.data[o];
				for (let c = 0; c < channels; c++) {
					for (let ky = 0; ky < kernel; ky++) {
						const iy = y * stride - padding + ky;
						if (iy < 0 || iy >= height) continue;
						for (let kx = 0; kx < kernel; kx++) {
							const ix = x * stride - padding + kx;
							if (ix < 0 || ix >= width) continue;
							sum += data[(c * height + iy) * width + ix] * weight.data[((o * channels + c) * kernel + ky) * kernel + kx];
						}
					}
				}
				result[(o * rows + y) * columns + x] = sum;
			}
		}
	}
	return [result, out];
}

/** weight (out, in) times a vector, plus bias. */
function multiply(data, weight, bias) {
	const [outputs, inputs] = weight.shape;
	const result = new Float32Array(outputs);
	for (let o = 0; o < outputs; o++) {
		let sum = bias.data[o];
		for (let i = 0; i < inputs; i++) sum += weight.data[o * inputs + i] * data[i];
		result[o] = sum;
	}
	return result;
}

/** Median of each channel; of an even number the mean of the middle two, as numpy's. */
function medians(rgb, pixels) {
	return [0, 1, 2].map((c) => {
		const values = pixels.map((i) => rgb[3 * i + c]).sort((a, b) => a - b);
		const half = values.length >> 1;
		return values.length % 2 === 1 ? values[half] : (values[half - 1] + values[half]) / 2;
	});
}

function nearest(colour, palette) {
	let best;
	let least = Number.POSITIVE_INFINITY;
	for (const [name, [r, g, b]] of Object.entries(palette)) {
		const distance = Math.hypot(colour[0] - r, colour[1] - g, colour[2] - b);
		if (distance < least) [best, least] = [name, distance];
	}
	return best;
}

/** float32 and float16 tensors of a safetensors file of ours. @param {Buffer} bytes */
function readFloats(bytes) {
	const length = Number(bytes.readBigUInt64LE(0));
	const header = JSON.parse(bytes.toString('utf8', 8, 8 + length));
	const tensors = new Map();
	for (const [name, entry] of Object.entries(header)) {
		if (name === '__metadata__') continue;
		if (entry.dtype !== 'F32') throw new Error(`${name} is ${entry.dtype}; expected F32`);
		const [begin, end] = entry.data_offsets;
		const view = new DataView(bytes.buffer, bytes.byteOffset + 8 + length + begin, end - begin);
		tensors.set(name, {
			shape: entry.shape,
			data: Float32Array.from({ length: (end - begin) / 4 }, (_, i) => view.getFloat32(4 * i, true)),
		});
	}
	return tensors;
}

/** (h, w, 3) bytes of a PNG, without its alpha. @param {string} file */
export function readPicture(file) {
	const { data, channels, width, height, depth } = decode(readFileSync(file));
	if (width !== SIDE || height !== SIDE || depth !== 8 || channels < 3) {
		throw new Error(`${file} is ${width} x ${height}, ${channels} channels of ${depth} bits; expected ${SIDE} x ${SIDE}, RGB, 8 bits.`);
	}
	const rgb = new Uint8Array(width * height * 3);
	for (let i = 0; i < width * height; i++) rgb.set(data.subarray(i * channels, i * channels + 3), 3 * i);
	return rgb;
}

/**
 * The recorded drawings: logits within the bar, labels and colours the same.
 * @returns {{ worst: number, wrong: string[], drawings: number }}
 */
export function checkClassifier(judge = openClassifier()) {
	let worst = 0;
	const wrong = [];
	for (const { file, rule, read, logits } of judge.facts.fixtures) {
		const rgb = readPicture(path.join(judge.folder, file));
		const got = judge.logits(rgb);
		for (const [i, expected] of logits.entries()) {
			const difference = Math.abs(got[i] - expected);
			if (!(difference <= worst)) worst = difference;
			if (!(difference <= LOGITS_BAR)) wrong.push(`${file}: logit ${i} is ${got[i]}, recorded ${expected}`);
		}
		const seen = { ...judge.look(rgb).read };
		for (const [head, label] of Object.entries(read))
			if (seen[head] !== label) wrong.push(`${file}: ${head} is ${seen[head]}, recorded ${label}`);
		const found = judge.colours(rgb);
		for (const [key, label] of Object.entries(rule)) {
			if ((found[key] ?? null) !== label) wrong.push(`${file}: ${key} by the rule is ${found[key]}, recorded ${label}`);
		}
	}
	return { worst, wrong, drawings: judge.facts.fixtures.length };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
	const { worst, wrong, drawings } = checkClassifier();
	for (const text of wrong) console.log(text);
	console.log(`${drawings} drawings, logits at most ${worst.toExponential(2)} from torch's (bar ${LOGITS_BAR}), ${wrong.length} wrong`);
	process.exitCode = wrong.length > 0 || drawings === 0 ? 1 : 0;
}
