/** An element of a small XML document. */
interface Element {
	readonly name: string;
	readonly attributes: ReadonlyMap<string, string>;
	readonly children: Element[];
	text: string;
}

const NAME = '[A-Za-z_][\\w.-]*';
const TOKEN = new RegExp(`<\\?xml[^?]*\\?>|</(${NAME})\\s*>|<(${NAME})((?:\\s+${NAME}="[^"<]*")*)\\s*(/?)>|([^<]+)|(<)`, 'g');
const ENTITY = /&(?:(amp|lt|gt|quot|apos)|#(\d+)|#x([0-9a-f]+));|&/gi;
const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** XML without DTD, comments and namespaces, which is all that a JUnit file needs. @throws {Error} what is not well-formed */
export function parseXml(source: string): Element {
	const root: Element = { name: '', attributes: new Map(), children: [], text: '' };
	const open = [root];
	for (const [token, closed, opened, rawAttributes = '', empty, text, stray] of source.matchAll(TOKEN)) {
		const top = open.at(-1) ?? root;
		if (stray !== undefined) throw new Error('a < that begins no tag');
		if (closed !== undefined) {
			if (open.length === 1 || top.name !== closed) throw new Error(`</${closed}> closes <${top.name}>`);
			open.pop();
		} else if (opened !== undefined) {
			const attributes = new Map<string, string>();
			for (const [, name = '', value = ''] of rawAttributes.matchAll(new RegExp(`(${NAME})="([^"<]*)"`, 'g'))) {
				if (attributes.has(name)) throw new Error(`attribute ${name} twice`);
				attributes.set(name, decode(value));
			}
			const element: Element = { name: opened, attributes, children: [], text: '' };
			top.children.push(element);
			if (empty !== '/') open.push(element);
		} else if (text !== undefined) top.text += decode(text);
		else if (token.startsWith('<?xml') && top !== root) throw new Error('a declaration inside');
	}
	const [first, ...more] = root.children;
	if (open.length > 1 || first === undefined || more.length > 0 || root.text.trim() !== '') throw new Error('not one closed root element');
	return first;
}

function decode(text: string): string {
	// biome-ignore lint/suspicious/noControlCharactersInRegex: XML 1.0 has no place for them
	if (/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/.test(text)) throw new Error('a character that XML forbids');
	return text.replace(ENTITY, (whole, named?: string, decimal?: string, hex?: string) => {
		if (named !== undefined) return NAMED[named.toLowerCase()] ?? '';
		if (decimal === undefined && hex === undefined) throw new Error(`${whole} is no entity`);
		return String.fromCodePoint(decimal === undefined ? Number.parseInt(hex ?? '0', 16) : Number(decimal));
	});
}

interface Rule {
	readonly required: Readonly<Record<string, RegExp>>;
	readonly optional?: Readonly<Record<string, RegExp>>;
	/** Names of the children, each followed by a comma. */
	readonly children: RegExp;
	readonly text?: boolean;
}

const ANY = /^/;
const SOME = /\S/;
const INT = /^[+-]?\d+$/;
/** xs:decimal, and Jenkins' form: at most three digits behind the point. */
const SECONDS = /^\d+(\.\d{1,3})?$/;
const NOTHING = /^$/;

/**
 * What both schemas in use ask of a file: that of Ant's JUnit task (windyroad/JUnit-Schema cfa434d JUnit.xsd) and that of
 * Jenkins (jenkinsci/xunit-plugin 8c515de, src/main/resources/org/jenkinsci/plugins/xunit/types/model/xsd/junit-10.xsd).
 * Read from them, not copied. junit.test.ts asks the schemas themselves too where JUNIT_XSD names them.
 */
const RULES: Readonly<Record<string, Rule>> = {
	testsuites: { required: {}, children: /^(testsuite,)*$/ },
	testsuite: {
		required: {
			name: SOME,
			package: ANY,
			id: INT,
			timestamp: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/,
			hostname: SOME,
			tests: INT,
			failures: INT,
			errors: INT,
			time: SECONDS,
		},
		optional: { skipped: INT },
		children: /^properties,(testcase,)*system-out,system-err,$/,
	},
	properties: { required: {}, children: /^(property,)*$/ },
	property: { required: { name: SOME, value: ANY }, children: NOTHING },
	testcase: { required: { name: ANY, classname: ANY, time: SECONDS }, children: /^((skipped|error|failure),)?$/ },
	skipped: { required: {}, optional: { message: ANY }, children: NOTHING, text: true },
	error: { required: { type: ANY }, optional: { message: ANY }, children: NOTHING, text: true },
	failure: { required: { type: ANY }, optional: { message: ANY }, children: NOTHING, text: true },
	'system-out': { required: {}, children: NOTHING, text: true },
	'system-err': { required: {}, children: NOTHING, text: true },
};

/** Everything that a file breaks; empty when it fits both schemas and its counts are true. */
export function junitProblems(source: string): readonly string[] {
	let root: Element;
	try {
		root = parseXml(source);
	} catch (error) {
		return [String(error)];
	}
	const problems: string[] = root.name === 'testsuites' ? [] : [`the root is <${root.name}>`];
	check(root, problems);
	for (const [index, suite] of root.children.entries()) {
		const cases = suite.children.filter((c) => c.name === 'testcase');
		const having = (name: string): number => cases.filter((c) => c.children.some((child) => child.name === name)).length;
		const facts = {
			id: index,
			tests: cases.length,
			failures: having('failure'),
			errors: having('error'),
			skipped: having('skipped'),
		};
		for (const [name, fact] of Object.entries(facts)) {
			if (Number(suite.attributes.get(name)) !== fact)
				problems.push(`suite ${index} says ${name} ${suite.attributes.get(name)}, it is ${fact}`);
		}
	}
	return problems;
}

function check(element: Element, problems: string[]): void {
	const rule = RULES[element.name];
	if (rule === undefined) {
		problems.push(`<${element.name}> is not known`);
		return;
	}
	for (const name of Object.keys(rule.required)) if (!element.attributes.has(name)) problems.push(`<${element.name}> has no ${name}`);
	for (const [name, value] of element.attributes) {
		const form = rule.required[name] ?? rule.optional?.[name];
		if (form === undefined) problems.push(`<${element.name}> may not have ${name}`);
		else if (!form.test(value)) problems.push(`<${element.name}> has ${name}="${value}"`);
	}
	const children = element.children.map((c) => `${c.name},`).join('');
	if (!rule.children.test(children)) problems.push(`<${element.name}> holds ${children}`);
	if (rule.text !== true && element.text.trim() !== '') problems.push(`<${element.name}> holds text`);
	for (const child of element.children) check(child, problems);
}
