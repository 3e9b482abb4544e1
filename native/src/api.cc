// The C interface: checks arguments, and turns exceptions into error numbers and messages.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <sstream>

#include "error.h"
#include "image.h"
#include "instructions.h"
#include "mobilevitv2.h"
#include "network.h"

#if defined(_WIN32)
#include <filesystem>
#else
#include <cerrno>
#include <sys/stat.h>
#endif

struct mv2_model {
    mv2::Config config;
    mv2::ImageSettings images;
    int threads;
    std::unique_ptr<mv2::Network> network;
    std::string description;
};

namespace {

using mv2::fail_file;
using mv2::fail_input;

constexpr int most_threads = 64, most_images = 1 << 20;
constexpr size_t longest_config = 64 << 20;

// Runs f; an exception becomes an error number and a message.
template <class F>
int guarded(char* message, size_t size, F&& f) {
    int kind = MV2_ERROR_INTERNAL;
    const char* text = "";
    std::string kept;
    try {
        f();
        return 0;
    } catch (const mv2::Error& error) {
        kind = error.kind;
        try {
            kept = error.what();
            text = kept.c_str();
        } catch (...) {
        }
    } catch (const std::bad_alloc&) {
        kind = MV2_ERROR_MEMORY;
        text = "there isn't enough memory for this image size, batch or model; try a smaller one.";
    } catch (const std::exception& error) {
        text = "an error inside the engine.";
        try {
            kept = std::string("an error inside the engine: ") + error.what();
            text = kept.c_str();
        } catch (...) {
        }
    } catch (...) {
        text = "an unknown error inside the engine.";
    }
    if (message && size) {
        size_t end = std::strlen(text);
        if (end > size - 1)  // cut between characters
            for (end = size - 1; end && (text[end] & 0xc0) == 0x80;) end--;
        std::memcpy(message, text, end);
        message[end] = 0;
    }
    return kind;
}

template <class T>
T* not_null(T* pointer, const char* name) {
    if (!pointer) fail_input(std::string(name) + " is a null pointer.");
    return pointer;
}

#if defined(_WIN32)
std::filesystem::path system_path(const std::string& path) { return std::filesystem::u8path(path); }
bool exists(const std::string& path) {
    std::error_code error;
    return std::filesystem::status(system_path(path), error).type() !=
           std::filesystem::file_type::not_found;
}
bool is_file(const std::string& path) {
    std::error_code error;
    return std::filesystem::is_regular_file(system_path(path), error);
}
#else
const std::string& system_path(const std::string& path) { return path; }
bool exists(const std::string& path) {  // or may exist: reading it then says what is wrong
    struct stat status{};
    return stat(path.c_str(), &status) == 0 || errno != ENOENT;
}
bool is_file(const std::string& path) {
    struct stat status{};
    return stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}
#endif

std::string read_text(const std::string& path) {
    if (exists(path) && !is_file(path)) fail_file(path + " isn't a file or can't be accessed.");
    std::ifstream file(system_path(path), std::ios::binary | std::ios::ate);
    if (!file)
        fail_file(path +
                  " can't be opened; expected a folder with config.json and model.safetensors.");
    const std::streamoff size = file.tellg();
    if (size < 0 || static_cast<size_t>(size) > longest_config)
        fail_file(path + " is too large for a config.");
    std::string text(static_cast<size_t>(size), 0);
    file.seekg(0);
    if (!file.read(text.data(), size)) fail_file(path + " can't be read.");
    return text;
}

mv2::Json json_text(const std::string& value) {
    mv2::Json json;
    json.kind = mv2::Json::string;
    json.text = value;
    return json;
}

mv2::Json json_number(double value) {
    mv2::Json json;
    json.kind = mv2::Json::number;
    json.value = value;
    return json;
}

std::string describe(const mv2_model& model, int precision, const mv2::Json& processor) {
    static const char* const tasks[] = {"backbone", "classification", "segmentation", "detection"};
    mv2::Json all, labels;
    all.kind = mv2::Json::object;
    labels.kind = mv2::Json::array;
    for (const std::string& label : model.config.labels) labels.items.push_back(json_text(label));
    all.members["task"] = json_text(tasks[static_cast<int>(model.config.task)]);
    all.members["labels"] = labels;
    all.members["problem_type"] = json_text(model.config.problem_type);
    all.members["precision"] = json_text(mv2::precision_name(precision));
    all.members["instructions"] = json_text(model.network->kernels().name);
    all.members["threads"] = json_number(model.threads);
    all.members["weights"] = json_number(static_cast<double>(model.network->weight_bytes()));
    all.members["channels"] = json_number(model.config.planes);
    all.members["processor"] = processor;
    return mv2::to_json(all);
}

std::unique_ptr<mv2_model> open(const std::string& folder, const mv2_options& options) {
    if (options.threads < 0 || options.threads > most_threads)
        fail_input("threads must be 0 to 64, got " + std::to_string(options.threads) + ".");
    const mv2::Kernels kernels =
        mv2::find_kernels(options.precision, options.instructions ? options.instructions : "");
    auto model = std::make_unique<mv2_model>();
    model->threads = options.threads ? options.threads : std::min(mv2::processors(), most_threads);
    const std::string config = folder + "/config.json", weights = folder + "/model.safetensors",
                      processor = folder + "/preprocessor_config.json";
    const mv2::Json fields = mv2::parse_json(read_text(config), config);
    model->config = mv2::read_config(fields, config);
    mv2::Json settings;
    settings.kind = mv2::Json::object;
    const mv2::Json* noted = fields.find("preprocessor_config");
    if (exists(processor)) settings = mv2::parse_json(read_text(processor), processor);
    else if (noted && noted->kind == mv2::Json::object) settings = *noted;
    model->images = mv2::image_settings(settings, processor.c_str());
    const mv2::SafeTensors file(weights);
    model->network = std::make_unique<mv2::Network>(model->config, file, weights, kernels);
    model->description = describe(*model, options.precision, settings);
    return model;
}

// The caller's outputs, checked; nullptr for those that the caller doesn't want.
std::vector<float*> checked_outputs(const mv2_model& model, int batch, int height, int width,
                                    float* const* outputs, const size_t* counts, int count) {
    if (batch < 1 || batch > most_images)
        fail_input("a batch must have 1 to 1048576 images, got " + std::to_string(batch) + ".");
    const std::vector<mv2::Output> known = model.network->outputs(height, width);
    if (count < 0 || static_cast<size_t>(count) > known.size())
        fail_input("the model has " + std::to_string(known.size()) + " outputs, got " +
                   std::to_string(count) + ".");
    if (count) {
        not_null(outputs, "outputs");
        not_null(counts, "counts");
    }
    std::vector<float*> places(known.size());
    for (int i = 0; i < count; i++) {
        const size_t expected = known[i].count() * static_cast<size_t>(batch);
        if (outputs[i] && counts[i] != expected)
            fail_input("output " + known[i].name + " needs room for " + std::to_string(expected) +
                       " floats, got " + std::to_string(counts[i]) + ".");
        places[i] = outputs[i];
    }
    return places;
}

void check_planes(const mv2_model& model) {
    if (model.config.planes != 3)
        fail_input("this model takes " + std::to_string(model.config.planes) +
                   " channels; a photo has 3.");
}

}  // namespace

int mv2_interface(void) { return MV2_INTERFACE; }

const char* mv2_instructions(int precision) {
    static const auto listed = [](int p) {
        std::string names;
        for (const std::string& name : mv2::instructions(p))
            names += (names.empty() ? "" : " ") + name;
        return names;
    };
    try {
        static const std::string all[] = {listed(MV2_FP32), listed(MV2_BF16), listed(MV2_INT8)};
        return precision < MV2_FP32 || precision > MV2_INT8 ? "" : all[precision].c_str();
    } catch (...) {
        return "";
    }
}

int mv2_open(const char* folder, const mv2_options* options, mv2_model** model, char* message,
             size_t message_size) {
    return guarded(message, message_size, [&] {
        *not_null(model, "model") = nullptr;
        *model = open(not_null(folder, "folder"), *not_null(options, "options")).release();
    });
}

void mv2_close(mv2_model* model) { delete model; }

const char* mv2_describe(const mv2_model* model) { return model ? model->description.c_str() : ""; }

int mv2_outputs(const mv2_model* model, int height, int width, mv2_output* outputs, int capacity,
                int* count, char* message, size_t message_size) {
    return guarded(message, message_size, [&] {
        const std::vector<mv2::Output> known =
            not_null(model, "model")->network->outputs(height, width);
        *not_null(count, "count") = static_cast<int>(known.size());
        for (int i = 0; i < capacity && i < static_cast<int>(known.size()); i++) {
            mv2_output& to = not_null(outputs, "outputs")[i];
            std::memset(&to, 0, sizeof to);
            std::strncpy(to.name, known[i].name.c_str(), sizeof to.name - 1);
            to.rank = static_cast<int>(known[i].shape.size());
            for (int d = 0; d < to.rank; d++) to.shape[d] = known[i].shape[d];
            to.count = known[i].count();
        }
    });
}

int mv2_run(const mv2_model* model, const float* pixels, int batch, int height, int width,
            float* const* outputs, const size_t* counts, int count, char* message,
            size_t message_size) {
    return guarded(message, message_size, [&] {
        not_null(model, "model");
        not_null(pixels, "pixels");
        const auto places = checked_outputs(*model, batch, height, width, outputs, counts, count);
        model->network->run(pixels, batch, height, width, places.data(), model->threads);
    });
}

int mv2_prepared_size(const mv2_model* model, int height, int width, int* prepared_height,
                      int* prepared_width, char* message, size_t message_size) {
    return guarded(message, message_size, [&] {
        const mv2::Size size = mv2::prepared_size(not_null(model, "model")->images, height, width);
        *not_null(prepared_height, "prepared_height") = size.height;
        *not_null(prepared_width, "prepared_width") = size.width;
    });
}

int mv2_prepare(const mv2_model* model, const uint8_t* photo, int height, int width,
                ptrdiff_t stride, float* pixels, size_t count, char* message, size_t message_size) {
    return guarded(message, message_size, [&] {
        check_planes(*not_null(model, "model"));
        not_null(photo, "photo");
        const mv2::Size size = mv2::prepared_size(model->images, height, width);
        const size_t expected = static_cast<size_t>(3) * size.height * size.width;
        if (count != expected)
            fail_input("pixels needs room for " + std::to_string(expected) + " floats, got " +
                       std::to_string(count) + ".");
        mv2::prepare(model->images, photo, height, width, stride, not_null(pixels, "pixels"));
    });
}

int mv2_run_photo(const mv2_model* model, const uint8_t* photo, int height, int width,
                  ptrdiff_t stride, float* const* outputs, const size_t* counts, int count,
                  char* message, size_t message_size) {
    return guarded(message, message_size, [&] {
        check_planes(*not_null(model, "model"));
        not_null(photo, "photo");
        const mv2::Size size = mv2::prepared_size(model->images, height, width);
        const auto places =
            checked_outputs(*model, 1, size.height, size.width, outputs, counts, count);
        std::vector<float> pixels(static_cast<size_t>(3) * size.height * size.width);
        mv2::prepare(model->images, photo, height, width, stride, pixels.data());
        model->network->run(pixels.data(), 1, size.height, size.width, places.data(),
                            model->threads);
    });
}

int mv2_profile(const mv2_model* model, int height, int width, int rounds, char* json, size_t size,
                char* message, size_t message_size) {
    return guarded(message, message_size, [&] {
        const mv2::Network& network = *not_null(model, "model")->network;
        if (rounds < 1 || rounds > 10000)
            fail_input("rounds must be 1 to 10000, got " + std::to_string(rounds) + ".");
        mv2::Json all, parts;
        all.kind = mv2::Json::object;
        parts.kind = mv2::Json::array;
        for (const mv2::StageTime& time : network.profile(height, width, model->threads, rounds)) {
            mv2::Json part;
            part.kind = mv2::Json::object;
            part.members["name"] = json_text(time.name);
            part.members["seconds"] = json_number(time.seconds);
            part.members["multiply_adds"] = json_number(time.multiply_adds);
            parts.items.push_back(part);
        }
        double best = 0;
        for (int i = 0; i < 5; i++) {
            network.kernels().enter();
            const auto start = std::chrono::steady_clock::now();
            const double done = network.kernels().spin(200000);
            const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
            network.kernels().leave();
            best = std::max(best, done / seconds.count());
        }
        all.members["peak"] = json_number(best);
        all.members["parts"] = parts;
        const std::string text = mv2::to_json(all);
        if (text.size() >= size)
            fail_input("json needs room for " + std::to_string(text.size() + 1) + " bytes, got " +
                       std::to_string(size) + ".");
        std::memcpy(not_null(json, "json"), text.c_str(), text.size() + 1);
    });
}
