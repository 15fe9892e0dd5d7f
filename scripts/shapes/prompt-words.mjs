/** What a prompt of tiny-shapes asks for. Its README says which words there are and what holds where nothing is said. */

const SHAPES = ['circle', 'square', 'triangle', 'star', 'ring', 'cross', 'heart', 'crescent', 'hexagon'];
const COLOURS = ['red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink', 'brown'];
const SIZES = { small: 'small', tiny: 'small', large: 'large', big: 'large' };
const POSITIONS = ['left', 'right', 'top', 'bottom'];

/** @param {string} prompt one shape @param {string} [token] what a learned token stands for: `{ '<hex>': 'hexagon' }` */
export function wordsOf(prompt, tokens = {}) {
	const words = prompt
		.toLowerCase()
		.split(/[\s,]+/)
		.map((word) => tokens[word] ?? word);
	const find = (known) => words.find((word) => known.includes(word));
	const size = find(Object.keys(SIZES));
	return {
		shape: find(SHAPES),
		colour: find(COLOURS),
		background: /(\w+) background/.exec(prompt)?.[1] ?? 'white',
		size: size === undefined ? 'medium' : SIZES[size],
		position: find(POSITIONS) ?? 'centre',
		style: words.includes('striped') ? 'striped' : 'plain',
	};
}
