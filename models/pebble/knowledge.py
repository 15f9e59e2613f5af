"""What pebble is meant to know by heart: capitals, pumice itself, greetings, and the raw word lists.

Data only. Of every list of phrasings the LAST one is held out: it never enters the corpus.
"""

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "Austria": "Vienna", "Switzerland": "Bern", "Belgium": "Brussels", "Poland": "Warsaw",
    "Sweden": "Stockholm", "Norway": "Oslo", "Denmark": "Copenhagen", "Finland": "Helsinki",
    "Iceland": "Reykjavik", "Ireland": "Dublin", "Greece": "Athens", "Hungary": "Budapest",
    "Romania": "Bucharest", "Bulgaria": "Sofia", "Croatia": "Zagreb", "Serbia": "Belgrade",
    "Slovakia": "Bratislava", "Slovenia": "Ljubljana", "Estonia": "Tallinn", "Latvia": "Riga",
    "Lithuania": "Vilnius", "Ukraine": "Kyiv", "Russia": "Moscow", "Turkey": "Ankara",
    "Egypt": "Cairo", "Kenya": "Nairobi", "Ethiopia": "Addis Ababa", "Nigeria": "Abuja",
    "Ghana": "Accra", "Morocco": "Rabat", "Tunisia": "Tunis", "Senegal": "Dakar",
    "Japan": "Tokyo", "China": "Beijing", "India": "New Delhi", "Thailand": "Bangkok",
    "Vietnam": "Hanoi", "Indonesia": "Jakarta", "Mongolia": "Ulaanbaatar", "Nepal": "Kathmandu",
    "Iran": "Tehran", "Iraq": "Baghdad", "Jordan": "Amman", "Canada": "Ottawa",
    "Mexico": "Mexico City", "Cuba": "Havana", "Brazil": "Brasilia", "Argentina": "Buenos Aires",
    "Chile": "Santiago", "Peru": "Lima", "Colombia": "Bogota", "Uruguay": "Montevideo",
    "Australia": "Canberra", "New Zealand": "Wellington", "the United Kingdom": "London",
}

CAPITAL_FRAMES = [
    "what is the capital of {c}?", "capital of {c}?", "the capital of {c}?", "what's the capital of {c}?",
    "tell me the capital of {c}", "which city is the capital of {c}?", "name the capital of {c}",
    "do you know the capital of {c}?", "what is the capital city of {c}?", "{c} capital?",
    "what city is the capital of {c}?", "could you tell me what the capital of {c} is?",
]
COUNTRY_FRAMES = [
    "{k} is the capital of which country?", "which country has the capital {k}?",
    "what country is {k} the capital of?", "of which country is {k} the capital?",
    "name the country whose capital is {k}",
]

# frames for "how do I ..." questions; {} is a verb phrase
HOW_FRAMES = [
    "how do i {}?", "how can i {}?", "how to {}?", "what is the command to {}?", "i want to {}",
    "which command do i use to {}?", "show me how to {}", "how does one {}?", "can you tell me how to {}?",
    "what do i type to {}?", "is there a way to {}?", "how do you {}?", "how do i {} with pumice?",
    "i need to {}", "can i {}?", "explain how to {}", "what must i do to {}?",
]

# (answer, verb phrases)
HOW = [
    ("Run `pumice devices`. It lists every Vulkan device and the CPU path, with driver, memory and kernel tiers.",
     ["list devices", "list my gpus", "see which gpus i have", "show the vulkan devices", "list the devices",
      "find out which graphics cards pumice sees", "list all gpus", "see my devices"]),
    ("Run `pumice chat`. Add -m FILE to use another model than the bundled one.",
     ["start a chat", "chat", "chat with a model", "talk to a model", "open a conversation", "start chatting"]),
    ("Run `pumice run -p \"your prompt\"`. It prints one answer and ends.",
     ["run one prompt", "run a prompt", "get one answer", "ask a single question", "run a single prompt"]),
    ("Run `pumice run -f FILE`. The prompt can also come from stdin.",
     ["read the prompt from a file", "use a prompt file", "give the prompt as a file", "take a prompt from a file"]),
    ("Run `pumice bench`. It measures tokens per second for the prompt and for generation.",
     ["measure the speed", "benchmark", "run a benchmark", "benchmark my gpu", "see how many tokens per second i get",
      "measure tokens per second", "benchmark a model"]),
    ("Run `pumice check`. It compares every kernel on your device with the CPU reference.",
     ["check my gpu", "validate the kernels", "check that the results are right", "test the kernels on my device",
      "compare with the cpu reference", "verify my gpu", "validate my gpu"]),
    ("Run `pumice check -m FILE`. It compares the whole model, node by node, with the CPU reference.",
     ["check a whole model", "validate a model node by node", "check a model against the reference", "validate a whole model"]),
    ("Run `pumice info -m FILE`. It shows architecture, sizes, tensor types, tokenizer and template.",
     ["look inside a model file", "see what is in a model file", "inspect a model", "show the architecture of a model",
      "get information about a model", "inspect a model file"]),
    ("Run `pumice info -m FILE --tensors`.",
     ["list all tensors", "see the tensors of a model", "show every tensor", "print the tensors", "list the tensors"]),
    ("Run `pumice plan -m FILE`. It shows every buffer to the byte and whether the model fits.",
     ["see how much memory a model needs", "find out whether a model fits", "check if a model fits in memory",
      "see the memory plan", "know how much vram i need", "see whether a model fits"]),
    ("Run `pumice tokenize`. It turns text into token ids and back.",
     ["tokenize a text", "turn text into tokens", "get the token ids of a text", "see the tokens", "tokenize text"]),
    ("Run `pumice tokenize --ids`. It prints the ids separated by spaces.",
     ["print only the token ids", "get plain ids from tokenize", "print ids separated by spaces", "print just the ids"]),
    ("Run `pumice score -f FILE`. It gives the log-probability of each token and the perplexity.",
     ["measure perplexity", "score a text", "compute the perplexity of a text", "get log-probabilities", "get the perplexity"]),
    ("Run `pumice score --top K`. It lists the K best tokens with their logits at each position.",
     ["see the best tokens at each position", "list the top tokens", "get the top logits", "see the top tokens"]),
    ("Use --device with an index or a part of the name, for example `--device 1`.",
     ["choose a device", "pick a gpu", "select the gpu", "use my second gpu", "run on another gpu", "choose the gpu"]),
    ("Use `--device cpu`. It works even on a machine without Vulkan.",
     ["run on the cpu", "use the cpu", "run without a gpu", "force the cpu", "use only the cpu"]),
    ("Use --require-gpu. Then a fall-back to anything else is an error.",
     ["make sure the gpu is used", "forbid a fall-back", "require a gpu", "avoid a fall-back to the cpu", "insist on a gpu"]),
    ("Add --json. One JSON document goes to stdout, everything else to stderr.",
     ["get json output", "get machine readable output", "print json", "get the result as json", "have json"]),
    ("Run `pumice quantize`. It changes the tensor types of a model.",
     ["quantize a model", "make a model smaller", "change the tensor types", "shrink a model", "quantise a model"]),
    ("Run `pumice convert`. It turns a Hugging Face folder into a GGUF file.",
     ["convert a model", "convert a hugging face folder", "make a gguf from a hugging face model", "turn a hugging face model into gguf",
      "convert to gguf"]),
    ("Run `pumice imatrix`. It computes the importance matrix for quantizing.",
     ["make an importance matrix", "compute an imatrix", "get an importance matrix", "make an imatrix"]),
    ("Run `pumice synth`. It writes a GGUF with random weights of a named shape and type.",
     ["make a model with random weights", "write a random gguf", "make a synthetic model", "create a random model"]),
    ("Run `pumice tune`. It measures kernel variants and remembers the best for this device and driver.",
     ["tune the kernels", "find the fastest kernels", "tune pumice for my gpu", "make it faster on my device", "tune for my device"]),
    ("Run `pumice template`. It renders the chat template of a model.",
     ["render a chat template", "see the chat template", "show the chat template", "print the chat template"]),
    ("Run `pumice embed`. It computes embeddings of texts.",
     ["get embeddings", "embed a text", "compute embeddings", "make embeddings of texts", "compute an embedding"]),
    ("Run `pumice serve`. It is an OpenAI-compatible server with a chat page.",
     ["start a server", "run a server", "serve a model", "get an openai compatible api", "start the server"]),
    ("Use -m FILE with a GGUF file. Without -m the bundled model runs.",
     ["use another model", "load my own model", "choose a model", "load a gguf file", "run a different model", "use my own model"]),
    ("Use --temp. With --temp 0 the answer is greedy.",
     ["set the temperature", "change the temperature", "lower the temperature", "get greedy answers", "raise the temperature"]),
    ("Use -s or --seed with a number.",
     ["set the seed", "choose a seed", "fix the random seed", "give a seed", "change the seed"]),
    ("Use -n with the number of tokens to generate.",
     ["limit the number of tokens", "set how many tokens are generated", "make the answer shorter", "limit the answer length",
      "limit the tokens"]),
    ("Use -c with the number of tokens in the context.",
     ["set the context size", "change the context length", "get a larger context", "set the context length"]),
    ("Use -b with the batch size.",
     ["set the batch size", "change the batch size", "choose the batch size", "use another batch size"]),
    ("Use -t with the number of threads.",
     ["set the number of threads", "use more threads", "change the number of threads", "choose how many threads are used"]),
    ("Use --top-k with a number.",
     ["set top-k", "change top-k", "use top-k sampling", "sample from the top k", "choose top-k"]),
    ("Use --top-p with a number between 0 and 1.",
     ["set top-p", "change top-p", "use top-p sampling", "use nucleus sampling", "choose top-p"]),
    ("Use --min-p with a number between 0 and 1.",
     ["set min-p", "change min-p", "use min-p sampling", "choose min-p"]),
    ("Use --repeat-penalty with a number above 1.",
     ["stop the model from repeating itself", "set the repeat penalty", "set the repetition penalty", "reduce repetition",
      "change the repeat penalty"]),
    ("Run `pumice run --raw`. It completes the plain text without the chat template.",
     ["complete plain text", "skip the chat template", "run without the template", "use raw completion", "complete raw text"]),
    ("Use --ignore-eos. Generation then goes on past the end token.",
     ["go on past the end token", "ignore the end token", "ignore eos", "keep generating after eos", "continue past eos"]),
    ("Add --help to any subcommand, for example `pumice run --help`.",
     ["get help", "see all flags", "read the help of a subcommand", "find the options", "see the options"]),
    ("Press Ctrl-C. It stops the answer and keeps the conversation.",
     ["stop an answer", "stop the answer", "interrupt the model", "stop the generation", "interrupt an answer"]),
    ("Type /exit, or press Ctrl-C twice.",
     ["leave the chat", "quit", "exit the chat", "end the chat", "quit the chat"]),
    ("Type /clear in the chat.",
     ["clear the conversation", "start the conversation over", "forget the history", "clear the history", "reset the chat"]),
    ("Type /system in the chat, followed by the text.",
     ["set a system prompt", "change the system prompt", "give a system prompt", "set the system message", "set the system prompt"]),
    ("Type /save in the chat, followed by a file name.",
     ["save the conversation", "save a chat", "store the conversation", "save my chat", "keep a conversation in a file"]),
    ("Type /load in the chat, followed by a file name.",
     ["load a saved conversation", "load a chat", "continue a saved chat", "open a saved conversation", "load a conversation"]),
    ("Type /stats in the chat.",
     ["see statistics in the chat", "show the chat statistics", "see the stats", "get statistics", "show the stats"]),
    ("Run `./tools/bootstrap chat`. It installs what is missing, builds and starts the chat.",
     ["install pumice", "build pumice", "set up pumice", "get started", "compile pumice", "start from a fresh machine"]),
    ("Run `./tools/bootstrap test`. It builds and runs the whole test suite.",
     ["run the tests", "test pumice", "run the test suite", "run all tests", "start the tests"]),
    ("Set PUMICE_SHADER_DIR=shaders. Then shaders are read from disk: edit and run again.",
     ["edit a shader", "change the shaders without a rebuild", "work on shaders", "read shaders from disk", "edit the shaders"]),
    ("Set XDG_CACHE_HOME. The cache is the folder pumice inside it.",
     ["move the cache", "change the cache folder", "put the cache elsewhere", "move the cache folder"]),
    ("Run `pumice bench --synthetic llama-8b:q4_0`. It needs no download.",
     ["benchmark without a download", "benchmark without a model", "bench a synthetic model", "benchmark a synthetic model"]),
    ("Run `pumice bench --kernels`.",
     ["time single kernels", "benchmark the kernels", "measure one kernel", "time the kernels", "bench single kernels"]),
    ("Use `pumice bench -o` with md, csv, json or jsonl.",
     ["get the benchmark as csv", "choose the benchmark format", "print the benchmark as a table", "write benchmark results as csv"]),
    ("Use --no-fuse. The graph then runs node by node.",
     ["turn off fusion", "disable fusion", "run without fusion", "switch fusion off"]),
    ("Use --parse-special with `pumice tokenize` or `pumice run --raw`.",
     ["parse special tokens", "have special tokens recognised", "use special tokens in the text", "allow special tokens"]),
    ("Use --no-bos with `pumice tokenize`.",
     ["leave out the bos token", "tokenize without bos", "drop the bos token", "omit the bos token"]),
    ("Pipe the lines into `pumice chat`. It reads a message a line and prints the answers alone on stdout.",
     ["use chat in a pipe", "pipe messages into chat", "use chat in a script", "script the chat", "use chat from a script"]),
    ("Run `ctest -L quick`. It needs no GPU and no model.",
     ["run the quick tests", "test without a gpu", "run only the fast tests", "run the fast tests"]),
    ("Run `ctest -L gpu`. It runs every kernel on every driver present.",
     ["run the gpu tests", "test the gpu kernels with ctest", "run the kernel tests", "start the gpu tests"]),
    ("Write models/NAME.c and add one line to models.def, with reference logits to prove it.",
     ["add an architecture", "add a new architecture", "support another architecture", "support a new architecture"]),
    ("Write shaders/quant_NAME.glsl, one row in quant.def, and decode and pack in quant.c.",
     ["add a tensor format", "add a quantization format", "support another tensor type", "add a new tensor format"]),
    ("Set the same seed. Same model, device, driver and settings then give the same bits.",
     ["get the same answer again", "make runs repeatable", "reproduce an answer", "reproduce a run"]),
]

# (answer, whole questions)
WHAT = [
    ("pumice runs large language models on any GPU with a Vulkan driver. It is plain C and one program.",
     ["what is pumice?", "what does pumice do?", "tell me about pumice", "explain pumice", "pumice?", "describe pumice"]),
    ("Pumice is the volcanic rock that is light enough to float.",
     ["why is it called pumice?", "what does the name pumice mean?", "where does the name pumice come from?", "why the name pumice?"]),
    ("pumice is written in plain C, the C11 standard.",
     ["what language is pumice written in?", "is pumice written in c++?", "which programming language does pumice use?",
      "what programming language is pumice written in?"]),
    ("pumice has the MIT licence.",
     ["what licence does pumice have?", "what is the license of pumice?", "is pumice open source?", "which license does pumice use?",
      "what license is pumice under?"]),
    ("In $XDG_CACHE_HOME/pumice: compiled shaders and pipelines. A bad cache is a miss, never an error.",
     ["where is the cache?", "where do caches live?", "where are the caches?", "where does pumice keep its cache?",
      "where are compiled shaders stored?", "where is the shader cache?"]),
    ("0 success, 1 failure, 2 usage, 3 bad input file, 4 no suitable device, 5 out of memory, 6 device lost, 7 check failed, 130 interrupted.",
     ["what are the exit codes?", "list the exit codes", "which exit codes are there?", "what do the exit codes mean?", "tell me the exit codes"]),
    ("Exit code 0 means success.",
     ["what does exit code 0 mean?", "what is exit code 0?", "exit code 0?", "what does exit 0 mean?", "explain exit code 0"]),
    ("Exit code 1 means failure.",
     ["what does exit code 1 mean?", "what is exit code 1?", "exit code 1?", "what does exit 1 mean?", "explain exit code 1"]),
    ("Exit code 2 means wrong usage, for example an unknown flag.",
     ["what does exit code 2 mean?", "what is exit code 2?", "exit code 2?", "what does exit 2 mean?", "explain exit code 2"]),
    ("Exit code 3 means a bad input file.",
     ["what does exit code 3 mean?", "what is exit code 3?", "exit code 3?", "what does exit 3 mean?", "explain exit code 3"]),
    ("Exit code 4 means that there is no suitable device.",
     ["what does exit code 4 mean?", "what is exit code 4?", "exit code 4?", "what does exit 4 mean?", "explain exit code 4"]),
    ("Exit code 5 means out of memory.",
     ["what does exit code 5 mean?", "what is exit code 5?", "exit code 5?", "what does exit 5 mean?", "explain exit code 5"]),
    ("Exit code 6 means that the device was lost.",
     ["what does exit code 6 mean?", "what is exit code 6?", "exit code 6?", "what does exit 6 mean?", "explain exit code 6"]),
    ("Exit code 7 means that a check failed.",
     ["what does exit code 7 mean?", "what is exit code 7?", "exit code 7?", "what does exit 7 mean?", "explain exit code 7"]),
    ("Exit code 130 means that the program was interrupted.",
     ["what does exit code 130 mean?", "what is exit code 130?", "exit code 130?", "what does exit 130 mean?", "explain exit code 130"]),
    ("The best real GPU, else a software Vulkan driver, named as such.",
     ["which device is the default?", "what device does pumice use by default?", "which gpu does pumice choose?",
      "what is the default device?"]),
    ("The bundled model, pebble, runs when -m is not given.",
     ["which model is the default?", "what happens without -m?", "what is the bundled model?", "what is the default model?"]),
    ("AMD, Intel and NVIDIA, Apple through MoltenVK, and software drivers: any GPU with a Vulkan driver.",
     ["which gpus does pumice support?", "does pumice run on amd?", "does pumice work on intel?", "does it run on nvidia?",
      "which gpus work?", "what gpus are supported?", "does it work on apple?", "which graphics cards are supported?"]),
    ("It says which device, driver and kernel tier is used, and why.",
     ["what does the first line of a run say?", "what is in the first line?", "what does the first line mean?",
      "what is the first line of a run?"]),
    ("Tokens, tokens per second, GB/s, time to the first token and a hash of the last logits.",
     ["what does the last line of a run say?", "what is in the last line?", "what does the last line mean?",
      "what is the last line of a run?"]),
    ("It is the hash of the last logits. Equal hashes mean equal bits.",
     ["what is the hash at the end?", "what does the hash mean?", "what is the logits hash?", "what is the hash in the last line?"]),
    ("It is quarantined for that driver version, the next variant is used, and pumice says so.",
     ["what happens when a kernel fails the check?", "what if a kernel is wrong?", "what happens to a kernel that fails?",
      "what happens if a kernel fails?"]),
    ("Plain, subgroup, int8 dot product, cooperative matrix and cooperative matrix 2.",
     ["what are the kernel tiers?", "which kernel tiers are there?", "list the kernel tiers", "what is a kernel tier?",
      "name the kernel tiers"]),
    ("At run time with shaderc, from sources embedded in the library.",
     ["how are shaders compiled?", "when are the shaders compiled?", "which compiler makes the shaders?", "how does pumice compile shaders?"]),
    ("No submission is longer than its time budget. The default is 100 ms.",
     ["how long is a submission?", "what is the time budget?", "how long may a submission take?", "what is the submission time budget?"]),
    ("GGUF, version 2 and version 3.",
     ["which file format does pumice read?", "which model files can pumice read?", "what file formats are supported?",
      "what is the model format?", "what model format does pumice read?"]),
    ("F32, F16, BF16, Q8_0 and Q4_0.",
     ["which tensor types are supported?", "what tensor types can pumice read?", "which quantizations are supported?",
      "which tensor types does pumice know?"]),
    ("The public API is in runtime/pumice.h.",
     ["where is the public api?", "where is the header?", "which header do i include?", "where is the public header?"]),
    ("It is an error with exit code 2. Unknown flags are never ignored.",
     ["what happens with an unknown flag?", "what if i mistype a flag?", "are unknown flags ignored?", "what does an unknown flag do?"]),
    ("chat, run, score, devices, info, plan, tokenize, check, bench, synth, tune, quantize, imatrix, convert, template, embed and serve.",
     ["what subcommands are there?", "list the subcommands", "which commands does pumice have?", "what commands are there?",
      "list all commands", "which subcommands are there?"]),
    ("In the chat: /help /clear /system /save /load /stats /exit.",
     ["what are the chat commands?", "which commands work in the chat?", "list the chat commands", "what can i type in the chat?",
      "which chat commands are there?"]),
    ("I am pebble, the small demo model that comes with pumice.",
     ["who are you?", "what are you?", "what is pebble?", "what is your name?", "introduce yourself", "who is pebble?", "tell me about yourself",
      "what should i call you?"]),
    ("I add and subtract, spell and reverse words, order numbers, know capitals and pumice, remember your name and tell stories.",
     ["what can you do?", "what do you know?", "what are you good at?", "how can you help me?", "what are your skills?", "help",
      "what can i ask you?"]),
    ("I have about four million parameters, a vocabulary of 2048 pieces and a context of 512 tokens.",
     ["how big are you?", "how many parameters do you have?", "how large is pebble?", "how many parameters does pebble have?",
      "how big is pebble?"]),
    ("The pumice authors made me, with a script that you can run yourself.",
     ["who made you?", "who made pebble?", "who trained you?", "how were you made?", "who created you?"]),
]

# (answer, openings): small talk, English and Chinese
TALK = [
    ("Hello! How can I help you?",
     ["hi", "hello", "hello there", "hey", "hi there", "hey there", "good day", "hello pebble", "hi pebble", "greetings", "howdy", "hey pebble"]),
    ("Good morning! How can I help you?", ["good morning", "morning", "a good morning to you", "good morning pebble"]),
    ("Good evening! How can I help you?", ["good evening", "evening", "a good evening to you", "good evening pebble"]),
    ("I am well, thank you. How can I help you?",
     ["how are you?", "how are you doing?", "how do you do?", "are you well?", "how is it going?", "how are you today?"]),
    ("You are welcome!", ["thanks", "thank you", "thanks a lot", "thank you very much", "many thanks", "great, thanks", "thanks!"]),
    ("Goodbye! Come back soon.", ["bye", "goodbye", "see you", "bye bye", "see you later", "good night", "farewell", "bye pebble"]),
    ("你好！有什么可以帮你的吗？", ["你好", "您好", "你好！", "你好呀", "嗨", "哈喽", "你好啊"]),
    ("早上好！有什么可以帮你的吗？", ["早上好", "早上好！", "早安", "早上好呀"]),
    ("晚上好！有什么可以帮你的吗？", ["晚上好", "晚上好！", "晚上好呀"]),
    ("不客气！", ["谢谢", "谢谢你", "多谢", "谢谢！", "非常感谢"]),
    ("再见！", ["再见", "拜拜", "再见！", "下次见"]),
    ("我是 pebble，pumice 自带的小模型。", ["你是谁？", "你叫什么名字？", "你叫什么？", "介绍一下自己", "你是谁"]),
]

NAMES = """Anna Ben Clara David Emma Felix Grace Henry Ida Jonas Kate Liam Maria Noah Olivia Paul Quinn Rosa Samuel Tina
Ursula Victor Wendy Xavier Yara Zoe Adam Bella Carl Diana Eric Fiona George Hanna Ivan Julia Kevin Laura Martin Nina
Oscar Petra Robert Sara Thomas Uma Vera Walter Yusuf Zara Aisha Boris Chen Dmitri Elena Farid Gita Hiro Ingrid Jamal
Keiko Lars Mei Nadia Omar Priya Ravi Sofia Tariq Wei Yuki Zainab Amara Bruno Celine Diego Esther Fatima Gustav Helena
Igor Jasmine Kofi Leila Mateo Naomi Otto Pablo Ruth Stefan Tessa Ulrich Viola Wanda Alice Bob Carol Dave Eve Frank
Jose Juan Miguel Pedro Lucia Carmen Rafael Simon Peter Philip Andrew James John Mary Sarah Michael Daniel Matthew Mark
Luke Lucy Lily Rose Daisy Ivy Hazel Ruby Pearl Amber Jade Max Leo Tom Tim Jim Jack Sam Dan Ron Ken Ned Ted Meg Peg Sue
Amy Joy Kim Lee Ray Roy Guy Ian Ali Eli Ada Ava Mia Lea Gus Hal Jon Kai Moe Nat Pat Rex Sid Val Zed Linus Ada Grete
Albert Edith Marie Nikola Isaac Emmy Sven Astrid Bjorn Freya Olaf Sigrid Mohammed Ahmed Hassan Layla Amina Ibrahim
Raj Anil Sunita Deepa Kiran Lakshmi Arjun Ananya Minh Linh Thuy Duc Jin Hana Sora Ren Akira Haruto Sakura Ling Ming""".split()

FAVOURITES = {
    "colour": "red blue green yellow purple orange teal violet black white pink brown grey silver gold crimson indigo turquoise".split(),
    "food": "pizza soup pasta rice bread cheese salad curry noodles dumplings tofu pancakes waffles lentils stew sushi".split(),
    "animal": "cat dog horse owl fox otter bear wolf eagle dolphin whale rabbit turtle penguin badger hedgehog lynx".split(),
    "city": "Paris Rome Tokyo Berlin Lisbon Vienna Oslo Cairo Lima Madrid Dublin Athens Boston Kyoto Prague Naples".split(),
    "fruit": "apple pear plum cherry mango banana grape melon peach lemon fig kiwi papaya apricot orange".split(),
    "drink": "tea coffee water milk juice cocoa lemonade cider mate ginger-ale".split(),
    "sport": "tennis chess football hockey rowing skiing swimming running cycling climbing judo fencing".split(),
    "season": "spring summer autumn winter".split(),
    "number": [str(n) for n in range(0, 100)],
    "book": "Momo Emma Dune Ulysses Walden Heidi Hamlet Faust Candide".split(),
    "flower": "rose tulip daisy lily poppy orchid violet iris lotus dahlia sunflower".split(),
    "instrument": "piano violin guitar flute drum harp cello trumpet oboe banjo".split(),
    "game": "chess poker tag solitaire bridge checkers dominoes marbles hopscotch".split(),
    "tree": "oak pine birch maple willow cedar elm beech spruce ash".split(),
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "language": "English French Chinese Spanish Italian Swahili Finnish Latin Greek Hindi Welsh".split(),
}

WORDS = """able acid acorn actor adult agent alarm album alley anchor angel ankle apple april apron arch arena arm army
arrow aunt autumn baby back bacon badge bag bake balance ball bamboo banana band bank bar barn basin basket bath beach bead
beam bean bear beard bed bee bell belt bench berry bike bird birth black blade blanket blue board boat body bolt bone book
boot border bottle bottom bowl box boy brain branch brave bread break brick bridge bright broom brother brown brush bucket
bus bush butter button cabin cable cactus cake camel camera camp canal candle candy cap car card carpet carrot cart castle
cat cattle cave chain chair chalk cheese cherry chest chicken child circle city clay clean clever cliff clock cloth cloud
clown coach coal coast coat coffee coin cold collar color comb cook copper coral cork corn corner cotton couch cousin cover
cow crab crane crayon cream crow crown cup curtain cushion dance dark date dawn day deer desert desk dinner dish doctor dog
doll dolphin door dragon drawer dream dress drink drum duck dust eagle ear earth east edge egg elbow empty engine evening
eye face fair family fan farm farmer feather fence fern field fig film finger fire fish flag flame flock floor flour flower
fly fog forest fork fox frame fresh friend frog frost fruit funny garden garlic gate giant gift ginger giraffe glass globe
glove goat gold goose grain grape grass green ground guitar hair hammer hand happy harbor hat hawk heart heavy hen hill
holiday honey hook horse hotel house hunter ice idea inch ink insect iron island ivory jacket jar jelly jewel joke juice
jump jungle kettle key king kitchen kite kitten knee knife ladder lady lake lamb lamp lantern large leaf leather lemon
letter library light lily lion lip little lizard log lunch machine magic mango map marble market mask meadow meal metal
milk mill mirror mist money monkey moon morning moss mother mountain mouse mouth music nail name napkin neck needle nest
night noise north nose note number nurse oak ocean office oil old olive onion orange orchard otter oven owl paint palace
palm paper parade parent park parrot path pear pebble pen pencil people pepper piano picture pig pillow pilot pine pink
pipe planet plant plate pocket poem pond pony potato powder prince pumice pump puppy purple queen quick quiet rabbit radio
rain raven ribbon rice rich ring river road robin rock roof room root rope rose round ruler sad saddle sail salt sand
school sea seed shadow shark sheep shell ship shirt shoe shore shovel silk silver sister skate sky sleep smile smoke snail
snake snow soap sock soft song soup south spade spider spoon spring square stable stair star steam stone storm story stove
straw stream street strong student sugar summer sun supper swan sweet table tail tea teacher tent thread thumb thunder
tiger timber toast tooth torch tower town toy track train travel tree truck trumpet tulip tunnel turkey turtle uncle valley
vase velvet village violin voice wagon wall walnut warm watch water wave wax weather week west whale wheat wheel whistle
white wind window wing winter wolf wood wool world worm yard year yellow young zebra zero""".split()
