import { expect, it } from 'vitest';
import { pythonJson, pythonJsonLine } from '../../src/metadata/python-json.js';

it('lays out as json.dumps(indent=2, sort_keys=True)', () => {
	// Python 3.11: json.dumps({"b": [], "a": {"y": [1, "é"], "x": None}, "c": True, "d": 0.5, "e": {}}, indent=2, sort_keys=True)
	expect(pythonJson({ b: [], a: { y: [1, 'é'], x: null }, c: true, d: 0.5, e: {} })).toBe(
		'{\n  "a": {\n    "x": null,\n    "y": [\n      1,\n      "\\u00e9"\n    ]\n  },\n  "b": [],\n  "c": true,\n  "d": 0.5,\n  "e": {}\n}',
	);
});

it('one line as json.dumps(list)', () => {
	expect(pythonJsonLine(['CrossAttention', 'GEGLU', 'ü"'])).toBe('["CrossAttention", "GEGLU", "\\u00fc\\""]');
	expect(pythonJsonLine([])).toBe('[]');
});
