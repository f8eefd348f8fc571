// SPDX-License-Identifier: Apache-2.0
/* The shapes of JSON in answers; those of requests are in openapi_requests.c. Each stands before those that it refers to.
 * What is not required may be absent; members may be added, so clients skip those they do not know. */
#include "api/openapi_internal.h"
#include "core/field/field.h"
#include "core/flow/flow.h"
#include "core/model/model.h"

#define WORD(symbol, word, meaning) "'" word "',"
#define ENUM(map) "{'type':'string','enum':[" map(WORD) "]}"

#define TEXT "{'type':'string'}"
#define TEXT_OR_NULL "{'type':['string','null']}"
#define WHOLE "{'type':'integer','minimum':0}"
#define WHOLE_OR_NULL "{'type':['integer','null']}"
#define SECONDS "{'type':'integer','description':'Unix seconds'}"
#define SECONDS_OR_NULL "{'type':['integer','null'],'description':'Unix seconds'}"
#define NUMBER "{'type':'number'}"
#define NUMBER_OR_NULL "{'type':['number','null']}"
#define BOOLEAN "{'type':'boolean'}"
#define OBJECT "{'type':'object'}"
#define WORDS(list) "{'type':'string','enum':[" list "]}"
#define CONST(word) "{'type':'string','const':'" word "'}"
#define ARRAY(items) "{'type':'array','items':" items "}"
#define REF(name) "{'$ref':'#/components/schemas/" name "'}"
#define SHA256 "{'type':'string','pattern':'^[0-9a-f]{64}$'}"
#define BASE64 "{'type':'string','contentEncoding':'base64','description':'A picture'}"
#define ROWS_OR_NULL ARRAY(ARRAY(NUMBER_OR_NULL))

#define LIST(name, item, more)                                                                               \
    {                                                                                                        \
        name,                                                                                                \
            "{'type':'object','required':['object','data'" more                                              \
            "],'properties':{'object':" CONST("list") ",'data':" ARRAY(                                      \
                REF(item)) ",'has_more':{'type':'boolean','description':'More can be asked "                 \
                           "for with after='}}}",                                                            \
            NULL, NULL                                                                                       \
    }
#define SCHEMA(name, required, properties)                                                                   \
    {                                                                                                        \
        name, "{'type':'object','required':[" required "],'properties':{" properties "}}", NULL, NULL        \
    }

const struct api_openapi_component api_openapi_answer_schemas[] = {
    /* ---- transfer ---- */
    SCHEMA("TransferResult", "'model','seed','direction','map','solver','data','timings'",
           "'model':" TEXT ",'seed':" WHOLE
           ",'direction':" ENUM(EFM_DIRECTION_MAP) ",'map':" ENUM(EFM_MAP_MAP) ",'solver':" ENUM(
               EFM_SOLVER_MAP) ",'data':" ARRAY(REF("TransferItem")) ",'timings':{'type':'object','required':"
                                                                     "['queue_ms','compute_ms'],'properties':"
                                                                     "{'queue_ms':" NUMBER
                                                                     ",'compute_ms':" NUMBER "}}"),
    SCHEMA(
        "TransferItem", "'index','seed','landed','state','evaluations'",
        "'index':" WHOLE ",'seed':" WHOLE ",'landed':" BOOLEAN
        ",'state':" ENUM(EFM_LINE_STATE_MAP) ",'evaluations':" WHOLE ",'b64_json':" BASE64 ",'vector':" ARRAY(
            NUMBER_OR_NULL) ",'frames':{'type':'array','description':'With trajectory: the points of the "
                            "line','items':{'anyOf':[" BASE64
                            "," ARRAY(NUMBER_OR_NULL) "]}},'heights':" ARRAY(NUMBER_OR_NULL)),

    /* ---- models ---- */
    LIST("ModelList", "Model", ""),
    SCHEMA(
        "Model",
        "'id','object','owned_by','created','state','bytes','memory','sha256','trained_by','limits','arch','"
        "field',"
        "'map','L','shape','source','target','defaults'",
        "'id':" TEXT ",'object':" CONST("model") ",'owned_by':" TEXT ",'created':" SECONDS ",'state':" WORDS(
            "'unloaded','loading','ready','failed'") ",'reason':{'type':'string','description':'"
                                                     "Of a "
                                                     "failure'},'bytes':{'type':'integer','"
                                                     "description':'Of its "
                                                     "file'},'memory':{'type':'integer','"
                                                     "description':'"
                                                     "Bytes, while it is "
                                                     "ready'},'sha256':" SHA256
                                                     ",'trained_by':{'type':['string','null'],'"
                                                     "description':'The "
                                                     "id of a "
                                                     "job'},'arch':{'type':'string','enum':['"
                                                     "exact','unet','mlp']},'field':" ENUM(EFM_FIELD_KIND_MAP) ",'map':" ENUM(EFM_MAP_MAP) ",'L':" NUMBER ",'gamma':" NUMBER_OR_NULL ",'shape':" REF("Shape") ",'source':" REF("Plate") ",'target':" REF(
                                                         "Plate") ",'defaults':"
                                                                  "{'type':'"
                                                                  "object','"
                                                                  "required':['"
                                                                  "solver','"
                                                                  "steps','"
                                                                  "variable','"
                                                                  "tolerance'],"
                                                                  "'properties'"
                                                                  ":{"
                                                                  "'solver'"
                                                                  ":" ENUM(EFM_SOLVER_MAP) ",'steps':" WHOLE ",'variable':" ENUM(
                                                                      EFM_VARIABLE_MAP) ",'tolerance':" NUMBER
                                                                                        "}},'limits':{'type':"
                                                                                        "'object','required':"
                                                                                        "['max_images','max_"
                                                                                        "side','max_pixels',"
                                                                                        "'max_steps','max_"
                                                                                        "trajectory','max_"
                                                                                        "reply_bytes'],'"
                                                                                        "properties':{'max_"
                                                                                        "images':" WHOLE
                                                                                        ",'max_side':" WHOLE
                                                                                        ",'max_pixels':" WHOLE
                                                                                        ",'max_steps':" WHOLE
                                                                                        ",'max_trajectory'"
                                                                                        ":" WHOLE
                                                                                        ",'max_reply_bytes'"
                                                                                        ":" WHOLE
                                                                                        "}},'trained_on':{'"
                                                                                        "type':'string','"
                                                                                        "description':'Of a "
                                                                                        "learned model: what "
                                                                                        "its network was "
                                                                                        "taught'},"
                                                                                        "'velocity':" BOOLEAN
                                                                                        ",'parameters':" WHOLE
                                                                                        ",'precision':" WORDS(
                                                                                            "'auto','f32','"
                                                                                            "bf16'") ",'"
                                                                                                     "weights"
                                                                                                     "'"
                                                                                                     ":" WORDS(
                                                                                                         "'f3"
                                                                                                         "2',"
                                                                                                         "'bf"
                                                                                                         "16"
                                                                                                         "'") ",'lowest':" NUMBER
                                                                                                              ",'record':" OBJECT),
    SCHEMA("Plate", "'name','standard_normal','count'",
           "'name':" TEXT ",'standard_normal':" BOOLEAN
           ",'count':{'type':'integer','minimum':0,'description':'Charges; 0 of a learned model'}"),
    SCHEMA("FieldValues", "'directions','log_norms'",
           "'directions':" ROWS_OR_NULL ",'log_norms':" ARRAY(NUMBER_OR_NULL)),
    SCHEMA("TraceLines", "'lines'",
           "'lines':" ARRAY("{'type':'object','required':['state','evaluations','points'],'properties':{"
                            "'state':" ENUM(EFM_LINE_STATE_MAP) ",'evaluations':" WHOLE
                                                                ",'points':" ROWS_OR_NULL "}}")),

    /* ---- datasets ---- */
    LIST("DatasetList", "Dataset", ""),
    SCHEMA("Dataset", "'id','object','count','shape','format','bytes','sha256','range','created','urls'",
           "'id':" TEXT ",'object':" CONST("dataset") ",'count':{'type':'integer','minimum':1},'shape':" REF(
               "Shape") ",'format':" TEXT ",'bytes':" WHOLE ",'sha256':" SHA256
                        ",'range':{'type':'array','description':'The least and the largest "
                        "number','minItems':2,'maxItems':2,"
                        "'items':" NUMBER_OR_NULL "},'created':" SECONDS
                        ",'urls':{'type':'object','required':['self','preview'],'properties':{'self':" TEXT
                        ",'preview':" TEXT "}}"),
    {"Shape",
     "{'type':'array','description':'[height, width, channels] of images, [D] of "
     "vectors','minItems':1,'maxItems':3,"
     "'items':{'type':'integer','minimum':1}}",
     NULL, NULL},

    /* ---- jobs ---- */
    LIST("JobList", "Job", ",'has_more'"),
    SCHEMA("Job",
           "'id','object','kind','status','created_at','started_at','finished_at','estimated_finish','"
           "expires_at',"
           "'progress','step','total_steps','queue_position','model','hyperparameters','seed','metadata','"
           "metrics',"
           "'result','error','webhook','checkpoint','urls'",
           "'id':" TEXT
           ",'object':" CONST("job") ",'kind':" WORDS("'train','transfer','generate'") ",'status':" WORDS(
               "'queued','running','succeeded','failed','cancelled'") ",'created_at':" SECONDS
                                                                      ",'started_at':" SECONDS_OR_NULL
                                                                      ",'finished_at':" SECONDS_OR_NULL
                                                                      ",'estimated_finish':" SECONDS_OR_NULL
                                                                      ",'expires_at':" SECONDS_OR_NULL
                                                                      ",'progress':{'type':'number','minimum'"
                                                                      ":0,'maximum':1},'step':" WHOLE
                                                                      ",'total_steps':" WHOLE_OR_NULL
                                                                      ",'queue_position':{'type':'integer','"
                                                                      "minimum':0,'description':'1: next; 0: "
                                                                      "it does not wait'},"
                                                                      "'model':" TEXT_OR_NULL
                                                                      ",'hyperparameters':{'type':['object','"
                                                                      "null'],'description':'Of a training: "
                                                                      "its whole spec'},'seed':" WHOLE
                                                                      ",'metadata':{'type':['object','null'],"
                                                                      "'additionalProperties':" TEXT "},"
                                                                      "'metrics':{'type':['object','null'],'"
                                                                      "required':['loss','images_per_second']"
                                                                      ",'properties':{'loss':" NUMBER_OR_NULL
                                                                      ",'images_per_second':" NUMBER_OR_NULL
                                                                      "}},"
                                                                      "'result':{'type':['object','null'],'"
                                                                      "required':['url'],'description':'Once "
                                                                      "it has succeeded: a model, or "
                                                                      "the answer','properties':{'url':" TEXT
                                                                      ",'model':" TEXT_OR_NULL
                                                                      ",'sha256':" TEXT_OR_NULL
                                                                      ",'content_type':" TEXT_OR_NULL
                                                                      ",'bytes':" WHOLE "}},"
                                                                      "'error':{'type':['object','null'],'"
                                                                      "required':['code','message','param'],'"
                                                                      "properties':{'code':" TEXT
                                                                      ",'message':" TEXT
                                                                      ",'param':" TEXT_OR_NULL "}},"
                                                                      "'webhook':{'type':['object','null'],'"
                                                                      "required':['url','status','attempts'],"
                                                                      "'properties':{'url':" TEXT
                                                                      ",'status':" TEXT_OR_NULL
                                                                      ",'attempts':" WHOLE "}},"
                                                                      "'checkpoint':{'type':['object','null']"
                                                                      ",'required':['step','created_at'],'"
                                                                      "properties':{'step':" WHOLE
                                                                      ",'created_at':" SECONDS_OR_NULL "}},"
                                                                      "'urls':{'type':'object','required':['"
                                                                      "self','events','cancel'],'properties':"
                                                                      "{'self':" TEXT ",'events':" TEXT
                                                                      ",'cancel':" TEXT ",'result':" TEXT
                                                                      ",'preview':" TEXT ",'loss':" TEXT
                                                                      ",'checkpoints':" TEXT "}}"),
    LIST("EventList", "Event", ",'has_more'"),
    SCHEMA("Event", "'id','object','created_at','level','type','message','data'",
           "'id':{'type':'string','description':'Ascending numbers within a job'},'object':" CONST(
               "job.event") ",'created_at':" SECONDS_OR_NULL
                            ",'level':" WORDS("'info','warn','error'") ",'type':" WORDS(
                                "'state','metrics','checkpoint','preview','message'") ",'message':" TEXT
                                                                                      ",'data':" OBJECT),
    LIST("CheckpointList", "Checkpoint", ""),
    SCHEMA("Checkpoint", "'id','object','step_number','created_at','metrics','bytes'",
           "'id':" TEXT
           ",'object':" CONST("job.checkpoint") ",'step_number':" WHOLE ",'created_at':" SECONDS_OR_NULL
                                                ",'metrics':{'type':'object','required':['loss'],'properties'"
                                                ":{'loss':" NUMBER_OR_NULL "}},'bytes':" WHOLE),

    /* ---- service ---- */
    SCHEMA("Health", "'status','version'",
           "'status':" WORDS("'ok','loading','draining'") ",'version':" TEXT
                                                          ",'checks':{'type':'object','description':'What "
                                                          "readiness rests on'}"),
    SCHEMA("Document", "'openapi','info','paths'",
           "'openapi':" TEXT ",'info':" OBJECT ",'paths':" OBJECT ",'servers':" ARRAY(
               OBJECT) ",'security':" ARRAY(OBJECT) ",'tags':" ARRAY(OBJECT) ",'components':" OBJECT),
    SCHEMA("Index", "'name','version','endpoints','limits','build'",
           "'name':" TEXT ",'version':" TEXT ",'endpoints':" ARRAY(
               "{'type':'object','required':['methods','paths','help'],'properties':{'methods':" TEXT
               ",'paths':" ARRAY(TEXT) ",'help':" TEXT
                                       "}}") ",'limits':{'type':'object','additionalProperties':" NUMBER
                                             "},'build':" OBJECT),

    /* ---- Open Inference Protocol ---- */
    SCHEMA("OipServer", "'name','version','extensions'",
           "'name':" TEXT ",'version':" TEXT ",'extensions':" ARRAY(TEXT)),
    SCHEMA("OipLive", "'live'", "'live':" BOOLEAN),
    SCHEMA("OipReady", "'ready'", "'ready':" BOOLEAN),
    SCHEMA("OipModelReady", "'name','ready'", "'name':" TEXT ",'ready':" BOOLEAN),
    SCHEMA("OipModel", "'name','versions','platform','inputs','outputs'",
           "'name':" TEXT ",'versions':" ARRAY(TEXT) ",'platform':" TEXT ",'inputs':" ARRAY(
               REF("OipTensorMetadata")) ",'outputs':" ARRAY(REF("OipTensorMetadata"))),
    SCHEMA("OipTensorMetadata", "'name','datatype','shape'",
           "'name':" TEXT ",'datatype':" TEXT ",'shape':" ARRAY("{'type':'integer'}")),
    SCHEMA("OipInferResponse", "'model_name','outputs'",
           "'model_name':" TEXT ",'model_version':" TEXT ",'id':" TEXT ",'parameters':" OBJECT
           ",'outputs':" ARRAY(
               "{'type':'object','required':['name','datatype','shape'],'properties':{'name':" TEXT
               ",'datatype':" TEXT ",'shape':" ARRAY(WHOLE) ",'parameters':" OBJECT
                                                            ",'data':{'type':'array','items':{}}}}")),
    {"OipIndex",
     ARRAY("{'type':'object','required':['name','state'],'properties':{'name':" TEXT ",'version':" TEXT
           ",'state':" TEXT ",'reason':" TEXT "}}"),
     NULL, NULL},

    /* ---- OpenAI Images ---- */
    SCHEMA("Images", "'created','data'",
           "'created':" SECONDS ",'data':" ARRAY(
               "{'type':'object','required':['b64_json'],'properties':{'b64_json':" BASE64
               "}}") ",'output_format':" WORDS("'png','jpeg','webp'") ",'size':" TEXT ",'seed':" WHOLE),
};
const size_t api_openapi_answer_schema_count =
    sizeof api_openapi_answer_schemas / sizeof api_openapi_answer_schemas[0];
